"""One call of a model from inside a step: logged, streamed to the job as text, its errors in the job's words."""

import json
import logging
import os
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NoReturn, Protocol, TypeVar

from pydantic_ai import Agent
from pydantic_ai.exceptions import ModelAPIError, ModelHTTPError, UnexpectedModelBehavior

from examples.models import Choice, key_variables
from outlast import Context, Fail, Retry

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")
Answer_contra = TypeVar("Answer_contra", contravariant=True)

RATE_LIMIT_PAUSE = 20.0


class Render(Protocol[Answer_contra]):
    """Turns an answer, complete or not yet, into text; a fuller answer only adds to the text."""

    def __call__(self, answer: Answer_contra, /, *, done: bool) -> str: ...


async def ask(agent: Agent[None, Answer], question: str, choice: Choice, step: str, render: Render[Answer]) -> Answer:
    """The agent's answer; while it comes, its text is written to the job.

    Raises Retry where the provider may answer later, Fail where it will not.
    """
    ctx = Context.current()
    if ctx is None:
        raise RuntimeError("a model is asked inside a step, so that its answer is paid for once")
    _record(ctx, choice, step)
    try:
        return await _stream(ctx, agent, question, render)
    except ModelAPIError as error:
        _raise_in_our_words(error, choice)
    except UnexpectedModelBehavior as error:
        raise Retry(f"{choice.name} gave an answer that cannot be used: {error}", code="provider_error") from error


async def _stream(ctx: Context, agent: Agent[None, Answer], question: str, render: Render[Answer]) -> Answer:
    shown = Shown(ctx.write)
    async with agent, agent.run_stream(question) as reply:
        async for partial in reply.stream_output(debounce_by=None):
            shown.grow(render(partial, done=False))
        answer = await reply.get_output()
        shown.grow(render(answer, done=True))
        ctx.usage(input_tokens=reply.usage.input_tokens, output_tokens=reply.usage.output_tokens)
    return answer


class Shown:
    """A text that grows: of each fuller version only what is new is written, and none that takes words back."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._text = ""

    def grow(self, text: str) -> None:
        if len(text) > len(self._text) and text.startswith(self._text):
            self._write(text[len(self._text) :])
            self._text = text


def _record(ctx: Context, choice: Choice, step: str) -> None:
    """One line for each call that was really made: a replayed step has none."""
    call = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "job": ctx.job.id,
        "attempt": ctx.attempt,
        "step": step,
        "model": choice.name,
    }
    log.info("model call: %s by %s for %s, attempt %d", step, choice.name, ctx.job.id, ctx.attempt)
    path = os.environ.get("EXAMPLES_MODEL_LOG")
    if path:
        _append(path, json.dumps(call, ensure_ascii=False) + "\n")


def _append(path: str, line: str) -> None:
    """One write to a file opened for appending, so that lines of several processes never mix."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


def _raise_in_our_words(error: ModelAPIError, choice: Choice) -> NoReturn:
    status = error.status_code if isinstance(error, ModelHTTPError) else None
    match status:
        case 429:
            after = error.retry_after or RATE_LIMIT_PAUSE
            raise Retry(f"{choice.name} is over its rate limit.", after=after, code="rate_limited") from error
        case 401 | 403:
            raise Fail(
                f"{choice.name} does not accept the key.",
                code="provider_error",
                advice=f"Check {key_variables(choice)}, and that it may use this model.",
            ) from error
        case 400 | 404 | 413 | 422:
            raise Fail(
                f"{choice.name} refused the request: {error.message}",
                code="provider_error",
                advice="Check the model's name in OUTLAST_MODEL; a very long transcript may be more than it reads.",
            ) from error
        case _:
            raise Retry(
                f"{choice.name} did not answer: {error.message}", after=error.retry_after, code="provider_error"
            ) from error
