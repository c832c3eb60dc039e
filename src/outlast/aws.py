"""AWS Lambda: one function for all that may call it.

    SQS ────────────────▶ a slice of the job that each message names; answers which are to come again
    its dead letters ───▶ the jobs that they name have failed
    EventBridge ────────▶ what is due, and slices while there is time
    a gateway, a URL ───▶ the HTTP surface, through mangum

Lambda freezes the process with each answer, and may thaw it for the next call. So one event loop is kept for all calls,
and with it the app's connections; what a call began is over when it is answered.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from outlast.answering import give_up, run_named
from outlast.app import Outlast
from outlast.errors import ConfigurationError
from outlast.push import SQS, Named
from outlast.push.message import named_in

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

BEAT, HIDDEN = 20.0, 60
"""While a slice runs, its message is hidden anew each so many seconds, for so many: when its process dies, it comes
again soon, whatever the queue is set to."""

LONGEST_PAUSE = 60
"""Seconds until a message comes again that was not answered well: 2, 4, 8, ..., and at most this."""

SCHEDULERS = ("aws.events", "aws.scheduler")

Event = Mapping[str, Any]
Answer = dict[str, Any]


class Call(Protocol):
    """What Lambda calls the context."""

    def get_remaining_time_in_millis(self) -> int: ...


def lambda_handler(app: Outlast, api: "ASGIApp | None" = None) -> "Function":
    """The function that AWS Lambda calls: `handler = lambda_handler(app)`.

    Parameters
    ----------
    api: what answers requests; None: the stand-alone service, without a worker.
    """
    return Function(app, api)


class Function:
    """Takes the calls of one process, one after the other."""

    def __init__(self, app: Outlast, api: "ASGIApp | None") -> None:
        self._app = app
        self._api = api
        self._runner = asyncio.Runner()

    def __call__(self, event: Event, context: Call) -> Answer:
        """The answer to a call of Lambda.

        Raises ConfigurationError for an event that no part of this is for, and StoreError if the store does not answer
        where the caller is to learn of it: a scheduled call is then made again, a message is answered as failed.
        """
        if _is_of_sqs(event):
            return self._runner.run(self._delivered(event["Records"], context))
        if event.get("source") in SCHEDULERS and event.get("detail-type") == "Scheduled Event":
            return self._runner.run(self._swept(context))
        if "requestContext" in event:
            return self._answered(event, context)
        known = "messages of SQS, schedules of EventBridge, and requests by API Gateway or a function URL"
        raise ConfigurationError(f"this function is not for an event of {sorted(event)[:8]}; it takes {known}")

    def close(self) -> None:
        """Let go of the store, and of the event loop. Lambda never does."""
        self._runner.run(self._app.close())
        self._runner.close()

    # -- SQS --------------------------------------------------------------------------------------------------------

    async def _delivered(self, records: Sequence[Event], context: Call) -> Answer:
        """Do what the messages say, side by side, and answer which of them are to come again."""
        queue = self._app.push
        if not isinstance(queue, SQS):
            raise ConfigurationError("SQS calls, and the app has no such push: set OUTLAST_PUSH=sqs:https://...")
        done = await asyncio.gather(*(self._is_done(queue, record, context) for record in records))
        failed = [record["messageId"] for record, is_done in zip(records, done, strict=True) if not is_done]
        return {"batchItemFailures": [{"itemIdentifier": id} for id in failed]}

    async def _is_done(self, queue: SQS, record: Event, context: Call) -> bool:
        named = named_in(record["body"])
        try:
            # Connected first: what a cold start takes is not the slice's.
            await self._app.now()
            if queue.gave_up(record):
                await give_up(self._app, named)
                return True
            async with self._hidden(queue, record):
                await run_named(self._app, named, min(queue.most, _left(context)))
            return True
        except Exception as error:
            self._app.observe("push.failed", job_id=_shown(named), error=error)
            await self._hide(queue, record, _pause(record))
            return False

    @asynccontextmanager
    async def _hidden(self, queue: SQS, record: Event) -> AsyncIterator[None]:
        """Nobody else is given the message for as long as the block lasts."""
        over = asyncio.Event()
        beating = asyncio.create_task(self._beat(queue, record, over), name="outlast hides a message")
        try:
            yield
        finally:
            over.set()
            await beating

    async def _beat(self, queue: SQS, record: Event, over: asyncio.Event) -> None:
        while True:
            try:
                async with asyncio.timeout(BEAT):
                    await over.wait()
                return
            except TimeoutError:
                await self._hide(queue, record, HIDDEN)

    async def _hide(self, queue: SQS, record: Event, pause: int) -> None:
        try:
            await queue.hide(record["receiptHandle"], pause, arn=record["eventSourceARN"])
        except Exception as error:
            # Whatever it is, it is no other message's. It comes again when the queue thinks so, and is then found done,
            # or held.
            self._app.observe("push.not_hidden", message=record["messageId"], why=str(error))

    # -- a clock ----------------------------------------------------------------------------------------------------

    async def _swept(self, context: Call) -> Answer:
        await self._app.now()
        left = _left(context)
        budget = left if self._app.push is None else min(self._app.push.budget, left)
        return {"ran": await self._app.run_due(budget=budget)}

    # -- requests ---------------------------------------------------------------------------------------------------

    def _answered(self, event: Event, context: Call) -> Answer:
        # Mangum takes the loop that is set, and so the one that the app's connections belong to.
        asyncio.set_event_loop(self._runner.get_loop())
        answer: Answer = self._mangum(event, context)
        return answer

    @cached_property
    def _mangum(self) -> Any:
        try:
            from mangum import Mangum

            from outlast.web.service import service
        except ImportError as error:
            raise ConfigurationError("requests need mangum and Starlette: pip install 'outlast[lambda]'") from error
        api = self._api or service(self._app, worker=False)

        async def settled(scope: "Scope", receive: "Receive", send: "Send") -> None:
            await api(scope, receive, send)
            await self._app.settled()

        # A lifespan would end with each request.
        return Mangum(settled, lifespan="off")


def _is_of_sqs(event: Event) -> bool:
    records = event.get("Records") or [{}]
    return all(record.get("eventSource") == "aws:sqs" for record in records)


def _left(context: Call) -> float:
    """Seconds that the call may still take."""
    return max(context.get_remaining_time_in_millis() / 1000, 0.0)


def _pause(record: Event) -> int:
    received = int(record["attributes"]["ApproximateReceiveCount"])
    return min(1 << received, LONGEST_PAUSE)


def _shown(named: Named | None) -> str:
    return "no job" if named is None else named.job_id
