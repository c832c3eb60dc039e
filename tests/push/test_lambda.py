"""AWS Lambda: what a function does with what it is called for, by a queue, a clock or a gateway."""

import asyncio
import json
import sys
import threading
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from outlast import ConfigurationError, Context, Outlast, Status, aws
from outlast.aws import lambda_handler
from outlast.errors import StoreUnavailable
from outlast.job import Job
from outlast.push import SQS, Cron
from outlast.stores.memory import MemoryStore
from outlast.testing import FakeClock
from tests.push.ground import SECRET, make_app
from tests.push.lambdas import Shaky
from tests.push.queues import Queue, queues

pytestmark = pytest.mark.usefixtures("on_aws")

SCHEDULED = {"version": "0", "source": "aws.events", "detail-type": "Scheduled Event", "detail": {}}
ABSENT = f"job_{'0' * 29}"


class Function:
    """A function in this process, called in a thread, for Lambda has no event loop. `seconds`: what a call has left."""

    def __init__(self, app: Outlast, api: Any = None) -> None:
        self.seconds = 10.0
        self.app = app
        self._function = lambda_handler(app, api)

    async def __call__(self, event: Mapping[str, Any]) -> Any:
        return await asyncio.to_thread(self._function, event, self)

    def get_remaining_time_in_millis(self) -> int:
        return round(self.seconds * 1000)

    def tasks(self) -> list[str]:
        """What is left on its event loop."""
        return sorted(task.get_coro().__qualname__ for task in asyncio.all_tasks(self._function._runner.get_loop()))

    async def close(self) -> None:
        await asyncio.to_thread(self._function.close)


@pytest.fixture
async def both(sqs: str) -> AsyncIterator[tuple[Queue, Queue]]:
    async with queues(sqs, hides=600, receives=2) as both:
        yield both


@pytest.fixture
def queue(both: tuple[Queue, Queue]) -> Queue:
    return both[0]


@pytest.fixture
def dead(both: tuple[Queue, Queue]) -> Queue:
    return both[1]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> MemoryStore:
    return MemoryStore(clock=clock)


@pytest.fixture
async def app(store: MemoryStore, queue: Queue) -> AsyncIterator[Outlast]:
    """What submits, elsewhere."""
    async with make_app(store, push=SQS(queue.url)) as app:
        yield app


@pytest.fixture
async def function(store: MemoryStore, queue: Queue) -> AsyncIterator[Function]:
    function = Function(make_app(Shaky(store), push=SQS(queue.url)))
    yield function
    await function.close()


async def said(queue: Queue, *bodies: str) -> None:
    """Somebody puts these into the queue."""
    for body in bodies:
        await queue.client.send_message(QueueUrl=queue.url, MessageBody=body)


# -- messages of SQS ------------------------------------------------------------------------------------------------


async def test_a_message_runs_a_slice_and_a_copy_of_it_changes_nothing(
    app: Outlast, queue: Queue, function: Function
) -> None:
    job = await app.submit("broken", {})
    assert await queue.deliver(function) == 1
    failed = await app.get(job)
    assert (failed.status, failed.attempt) == (Status.FAILED, 1)
    assert await queue.count() == 0, "that a handler fails is no failure of the call"
    assert await function({"Records": queue.taken}) == {"batchItemFailures": []}
    assert await app.get(job) == failed


async def test_a_job_longer_than_the_function_may_run_goes_on_with_the_next_message(
    app: Outlast, queue: Queue, function: Function
) -> None:
    job = await app.submit("count", {"to": 7})
    # Three steps of 3 s go into 10 s.
    for left in ("queued", "queued", "completed"):
        assert await queue.deliver(function) == 1
        assert (await app.get(job)).status.value == left
    assert ((await app.get(job)).result, (await app.get(job)).attempt) == (list(range(7)), 1)
    assert await queue.count() == 0


async def test_a_budget_makes_the_slices_shorter_than_the_function(
    app: Outlast, store: MemoryStore, queue: Queue
) -> None:
    function = Function(make_app(store, push=SQS(queue.url, budget=7)))
    job = await app.submit("count", {"to": 3})
    assert await queue.deliver(function) == 1
    assert len(await app.steps(job.id)) == 2
    await function.close()


async def test_the_jobs_of_a_batch_run_side_by_side(app: Outlast, queue: Queue, function: Function) -> None:
    both = asyncio.Barrier(2)

    @function.app.handler
    async def meets(ctx: Context) -> None:
        await both.wait()

    app.handler(name="meets")(_elsewhere)
    jobs = [await app.submit("meets", {}) for _ in range(2)]
    assert await queue.deliver(function) == 2
    assert [(await app.get(job)).status.value for job in jobs] == ["completed"] * 2


async def _elsewhere(ctx: Context) -> None: ...


async def test_what_names_no_job_is_let_go_with_a_word(queue: Queue, function: Function) -> None:
    absent = json.dumps({"jobId": ABSENT, "turn": 1})
    await said(queue, "x", "[1]", '{"jobId": 7, "turn": 1}', '{"jobId": "\\ud800", "turn": 1}', f"[{absent}]", absent)
    assert await queue.deliver(function) == 6
    assert await queue.count() == 0
    assert (function.app.observe.counts["push.unreadable"], function.app.observe.counts["push.unknown"]) == (5, 1)


async def test_a_message_for_a_job_that_is_held_is_done_and_another_one_is_put_off(
    app: Outlast, store: MemoryStore, queue: Queue, function: Function
) -> None:
    job = await app.submit("count", {"to": 1})
    await store.claim(1, ["count"], "gone")
    assert await queue.deliver(function) == 1
    assert ((await app.get(job)).worker, await queue.count()) == ("gone", 1)
    assert await queue.take() == [], "not before the lease is out"


async def test_while_the_store_is_away_messages_come_again_soon_whatever_the_queue_hides_them_for(
    app: Outlast, queue: Queue, function: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await app.submit("count", {"to": 1})
    monkeypatch.setenv("FATE", "away")
    [record] = await queue.take()
    assert await function({"Records": [record]}) == {"batchItemFailures": [{"itemIdentifier": record["messageId"]}]}
    monkeypatch.setenv("FATE", "")
    # Of 600 s that the queue hides it for.
    assert await queue.deliver(function, wait=20) == 1
    assert (queue.taken[-1]["attributes"]["ApproximateReceiveCount"], await queue.count()) == ("2", 0)
    assert (await app.get(job)).status is Status.COMPLETED


async def test_a_slice_that_the_store_broke_off_is_called_for_again(
    app: Outlast, queue: Queue, function: Function, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[int] = []

    async def first() -> int:
        monkeypatch.setenv("FATE", "" if ran else "away")
        ran.append(1)
        return 1

    @function.app.handler
    async def unlucky(ctx: Context) -> int:
        return await ctx.step("first", first)

    app.handler(name="unlucky")(_elsewhere)
    job = await app.submit("unlucky", {})
    [record] = await queue.take()
    assert len((await function({"Records": [record]}))["batchItemFailures"]) == 1
    held = await app.get(job)
    assert (held.status, function.app.observe.counts["attempt.broke"]) == (Status.PROCESSING, 1)
    monkeypatch.setenv("FATE", "")
    clock.advance(30)
    assert await queue.deliver(function, wait=20) == 1
    ended = await app.get(job)
    assert (ended.status, ended.result, ended.attempt) == (Status.COMPLETED, 1, 2)


async def test_of_a_batch_that_alone_comes_again_which_failed(app: Outlast, store: MemoryStore, queue: Queue) -> None:
    opened: list[int] = []

    def lifespan(app: Outlast) -> Any:
        opened.append(1)
        if len(opened) == 1:
            raise StoreUnavailable("it is what handlers share that is away")
        return asyncio.timeout(None)

    function = Function(make_app(store, push=SQS(queue.url), lifespan=lifespan))
    jobs = [await app.submit("count", {"to": 1}) for _ in range(3)]
    assert await queue.deliver(function) == 3
    assert sorted([(await app.get(job)).status.value for job in jobs]) == ["completed", "completed", "queued"]
    assert await queue.deliver(function, wait=20) == 1
    assert [(await app.get(job)).status.value for job in jobs] == ["completed"] * 3
    await function.close()


async def test_a_message_is_hidden_for_as_long_as_its_slice_runs(
    sqs: str, app: Outlast, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aws, "BEAT", 0.2)
    monkeypatch.setattr(aws, "HIDDEN", 2)
    released = threading.Event()
    async with queues(sqs, hides=1) as (queue, _), make_app(store, push=SQS(queue.url)) as app:
        function = Function(make_app(store, push=SQS(queue.url)))

        @function.app.handler
        async def slow(ctx: Context) -> None:
            while not released.is_set():
                await asyncio.sleep(0.01)

        app.handler(name="slow")(_elsewhere)
        job = await app.submit("slow", {})
        delivering = asyncio.create_task(queue.deliver(function))
        while (await app.get(job)).status is not Status.PROCESSING:
            await asyncio.sleep(0.01)
        # The queue hides it for 1 s.
        assert await queue.take(wait=3) == []
        released.set()
        assert (await delivering, await queue.count()) == (1, 0)
        assert (await app.get(job)).status is Status.COMPLETED
        await function.close()


async def test_where_a_message_cannot_be_hidden_the_slice_runs_all_the_same(
    app: Outlast, queue: Queue, function: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aws, "BEAT", 0.0)
    job = await app.submit("count", {"to": 1})
    [record] = await queue.take()
    assert await function({"Records": [record | {"receiptHandle": "none"}]}) == {"batchItemFailures": []}
    assert (await app.get(job)).status is Status.COMPLETED
    assert function.app.observe.counts["push.not_hidden"] > 0


async def test_what_goes_wrong_in_hiding_a_message_is_no_other_message_s(
    app: Outlast, store: MemoryStore, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int] = []

    def lifespan(app: Outlast) -> Any:
        opened.append(1)
        if len(opened) == 1:
            raise StoreUnavailable("so that its message is to come again")
        return asyncio.timeout(None)

    monkeypatch.setattr(aws, "BEAT", 0.0)
    function = Function(make_app(store, push=SQS(queue.url, endpoint="no address"), lifespan=lifespan))
    jobs = [await app.submit("count", {"to": 1}) for _ in range(3)]
    assert await queue.deliver(function) == 3
    assert sorted([(await app.get(job)).status.value for job in jobs]) == ["completed", "completed", "queued"]
    assert (await queue.count(), function.app.observe.counts["push.not_hidden"] > 0) == (1, True)
    await function.close()


# -- dead letters ---------------------------------------------------------------------------------------------------


async def test_a_job_whose_messages_failed_too_often_has_failed_with_the_reason(
    app: Outlast, queue: Queue, dead: Queue, function: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aws, "LONGEST_PAUSE", 1)
    job = await app.submit("count", {"to": 1})
    monkeypatch.setenv("FATE", "away")
    # Two receives each are all that the queue grants; the third moves them.
    while await queue.deliver(function, wait=2):
        pass
    monkeypatch.setenv("FATE", "")
    while await dead.deliver(function):
        pass
    failed = await app.get(job)
    assert failed.status is Status.FAILED and failed.last_error is not None
    assert failed.last_error.code == "dead_lettered" and "gave up" in failed.last_error.message
    assert await dead.count() == 0
    assert await function({"Records": dead.taken}) == {"batchItemFailures": []}
    assert await app.get(job) == failed


async def test_a_dead_letter_of_a_job_that_has_gone_on_changes_nothing(
    app: Outlast, queue: Queue, dead: Queue, function: Function
) -> None:
    job = await app.submit("count", {"to": 7})
    await said(dead, json.dumps({"jobId": job.id, "turn": job.turn}), "x", json.dumps({"jobId": ABSENT, "turn": 0}))
    assert await queue.deliver(function) == 1
    before = await app.get(job)
    assert await dead.deliver(function) == 3
    assert (await app.get(job) == before, await dead.count()) == (True, 0)


async def test_what_comes_from_a_queue_of_before_is_a_call_and_no_dead_letter(
    app: Outlast, dead: Queue, function: Function
) -> None:
    for source in ("", "arn:aws:sqs:eu-central-1:123456789012:another"):
        dead.source = source
        job = await app.submit("count", {"to": 1})
        await said(dead, json.dumps({"jobId": job.id, "turn": job.turn}))
        assert await dead.deliver(function) == 1
        assert (await app.get(job)).status is Status.COMPLETED


async def test_while_the_store_is_away_a_dead_letter_comes_again_too(
    app: Outlast, dead: Queue, function: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await app.submit("count", {"to": 1})
    await said(dead, json.dumps({"jobId": job.id, "turn": job.turn}))
    monkeypatch.setenv("FATE", "away")
    assert await dead.deliver(function) == 1
    monkeypatch.setenv("FATE", "")
    assert await dead.deliver(function, wait=20) == 1
    assert (await app.get(job)).status is Status.FAILED


# -- a clock --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["aws.events", "aws.scheduler"])
async def test_a_schedule_does_what_is_due_and_runs_jobs(
    app: Outlast, function: Function, clock: FakeClock, source: str
) -> None:
    job = await app.submit("count", {"to": 1}, delay=60)
    assert await function(SCHEDULED | {"source": source}) == {"ran": 0}
    clock.advance(60)
    assert await function(SCHEDULED | {"source": source}) == {"ran": 1}
    assert (await app.get(job)).status is Status.COMPLETED


@pytest.mark.parametrize(("budget", "steps"), [(10, 3), (7, 2), (1000, 3)])
async def test_a_schedule_takes_no_longer_than_the_function_has_or_the_budget(
    app: Outlast, store: MemoryStore, monkeypatch: pytest.MonkeyPatch, budget: float, steps: int
) -> None:
    function = Function(make_app(store, push=Cron(secret=SECRET, budget=budget)))
    job = await app.submit("count", {"to": 9})
    assert await function(SCHEDULED) == {"ran": 1}
    assert len(await app.steps(job.id)) == steps
    await function.close()


async def test_while_the_store_is_away_a_schedule_fails_for_aws_to_see(
    function: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FATE", "away")
    with pytest.raises(StoreUnavailable):
        await function(SCHEDULED)


# -- requests -------------------------------------------------------------------------------------------------------


def by_gateway(method: str, path: str, body: str | None = None) -> dict[str, Any]:
    """A request as the REST API of API Gateway has it."""
    return {
        "resource": "/{proxy+}",
        "path": path,
        "httpMethod": method,
        "headers": {"Content-Type": "application/json", "Host": "localhost"},
        "multiValueHeaders": {"Content-Type": ["application/json"], "Host": ["localhost"]},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "requestContext": {"httpMethod": method, "path": path, "stage": "prod", "identity": {"sourceIp": "192.0.2.1"}},
        "body": body,
        "isBase64Encoded": False,
    }


def by_url(method: str, path: str, body: str | None = None) -> dict[str, Any]:
    """A request as an HTTP API and a function URL have it."""
    http = {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "tests"}
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"content-type": "application/json", "host": "localhost"},
        "requestContext": {"http": http, "stage": "$default", "domainName": "shop.example"},
        "body": body,
        "isBase64Encoded": False,
    }


@pytest.mark.parametrize("request_of", [by_gateway, by_url])
async def test_requests_reach_the_service_and_their_jobs_the_queue(
    request_of: Any, queue: Queue, function: Function
) -> None:
    body = json.dumps({"type": "count", "payload": {"to": 2}})
    accepted = await function(request_of("POST", "/jobs", body))
    assert accepted["statusCode"] == 202, accepted
    path = json.loads(accepted["body"])["urls"]["self"]
    assert await queue.deliver(function) == 1
    shown = json.loads((await function(request_of("GET", path)))["body"])
    assert (shown["status"], shown["result"]) == ("completed", [0, 1])
    assert (await function(request_of("GET", "/absent")))["statusCode"] == 404


async def test_an_app_of_your_own_may_answer(store: MemoryStore, queue: Queue) -> None:
    async def hello(scope: Any, receive: Any, send: Any) -> None:
        heard = await receive()
        await send({"type": "http.response.start", "status": 201, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"you said ", "more_body": True})
        await send({"type": "http.response.body", "body": heard["body"]})

    function = Function(make_app(store, push=SQS(queue.url)), hello)
    answer = await function(by_url("POST", "/", "hello"))
    assert (answer["statusCode"], answer["body"]) == (201, "you said hello")
    await function.close()


async def test_without_mangum_requests_are_refused_with_the_way_out(
    function: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mangum", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'outlast\[lambda\]'"):
        await function(by_url("GET", "/healthz"))


# -- the process ----------------------------------------------------------------------------------------------------


async def test_nothing_is_left_running_when_a_call_is_answered(app: Outlast, queue: Queue, function: Function) -> None:
    left: list[tuple[list[str], set[str]]] = []
    for _ in range(3):
        await app.submit("count", {"to": 1})
        assert await queue.deliver(function) == 1
        await function(SCHEDULED)
        await function(by_url("GET", "/healthz"))
        threads = {thread.name for thread in threading.enumerate() if thread.name.startswith("outlast")}
        left.append((function.tasks(), threads))
    assert left == [(["Hub._look"], set())] * 3, "but for what waits for news"


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"Records": []},
        {"Records": [{"eventSource": "aws:s3"}]},
        {"Records": [{"eventSource": "aws:sqs"}, {"eventSource": "aws:s3"}]},
        {"source": "aws.s3", "detail-type": "Object Created"},
        {"job": 1},
    ],
)
async def test_an_event_that_it_is_not_for_is_refused_with_what_it_takes(
    function: Function, event: dict[str, Any]
) -> None:
    with pytest.raises(ConfigurationError, match=r"not for an event of \[.*\]; it takes messages of SQS"):
        await function(event)


async def test_messages_for_an_app_with_another_push_are_refused(
    app: Outlast, store: MemoryStore, queue: Queue
) -> None:
    function = Function(make_app(store, push=Cron(secret=SECRET)))
    job: Job[Any] = await app.submit("count", {"to": 1})
    with pytest.raises(ConfigurationError, match="OUTLAST_PUSH=sqs:"):
        await queue.deliver(function)
    assert (await app.get(job)).status is Status.QUEUED
    await function.close()
