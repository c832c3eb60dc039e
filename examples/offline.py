"""Plain rules behind the interface of a language model: the prompt in, the structured answer out, piece by piece.

Nothing above it knows the difference: an agent asks it as it asks a vendor, and it streams as a vendor does.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable

from pydantic import BaseModel
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, ToolCallPart, UserPromptPart
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, DeltaToolCalls, FunctionModel

from examples.models import OFFLINE_NAME

Rules = Callable[[str, str], BaseModel]
"""From the name of what is wanted and the prompt to the answer."""

PIECE = 14
PACE = 0.03


def offline_model(rules: Rules) -> FunctionModel:
    """A model that answers by `rules`; EXAMPLES_OFFLINE_PACE is its speed, in seconds for each piece of its answer."""

    async def whole(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        wanted, answer = await asyncio.to_thread(_answer, rules, messages, info)
        return ModelResponse(parts=[ToolCallPart(wanted, answer)])

    async def streamed(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[DeltaToolCalls]:
        wanted, answer = await asyncio.to_thread(_answer, rules, messages, info)
        pace = float(os.environ.get("EXAMPLES_OFFLINE_PACE", PACE))
        yield {0: DeltaToolCall(name=wanted, tool_call_id="answer")}
        for start in range(0, len(answer), PIECE):
            await asyncio.sleep(pace)
            yield {0: DeltaToolCall(json_args=answer[start : start + PIECE])}

    return FunctionModel(whole, stream_function=streamed, model_name=OFFLINE_NAME)


def _answer(rules: Rules, messages: list[ModelMessage], info: AgentInfo) -> tuple[str, str]:
    wanted = info.output_tools[0].name
    return wanted, rules(wanted, _prompt(messages)).model_dump_json(by_alias=True)


def _prompt(messages: list[ModelMessage]) -> str:
    parts = [part for message in messages if isinstance(message, ModelRequest) for part in message.parts]
    return "\n".join(str(part.content) for part in parts if isinstance(part, UserPromptPart))
