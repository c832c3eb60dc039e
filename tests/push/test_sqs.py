"""SQS: what is put into its queue, and what it is told by."""

import asyncio
import json
from collections.abc import AsyncIterator
from time import time
from typing import Any

import httpx2
import pytest

from outlast import ConfigurationError, Outlast, Status
from outlast.push import SQS, Named, Unpublished
from outlast.push import sqs as module
from outlast.stores.memory import MemoryStore
from outlast.testing import FakeClock
from outlast.web.service import service
from tests.push.ground import SECRET, make_app
from tests.push.queues import Queue, queues
from tests.web.ground import client
from tests.webhooks.ground import Got, Receiver, receiving

pytestmark = pytest.mark.usefixtures("on_aws")

URL = "https://sqs.eu-central-1.amazonaws.com/123456789012/jobs"


@pytest.fixture
async def queue(sqs: str) -> AsyncIterator[Queue]:
    async with queues(sqs) as (queue, _):
        yield queue


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """In the place of SQS: it takes what it is asked."""

    async def answer(got: Got, writer: asyncio.StreamWriter) -> None:
        body = b'{"MessageId": "one"}'
        head = f"HTTP/1.1 200 X\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()

    async with receiving(answer) as receiver:
        yield receiver


def asked(receiver: Receiver) -> list[tuple[str, Any]]:
    """Each operation that was asked for, with its parameters."""
    return [(got.headers["x-amz-target"].rpartition(".")[2], got.told) for got in receiver.got]


# -- what is published ----------------------------------------------------------------------------------------------


async def test_a_call_is_in_the_queue_and_one_for_later_is_visible_at_its_time(queue: Queue) -> None:
    push, at = SQS(queue.url), time() + 1.5
    await push.publish(Named("job_2", 5), at)
    await push.publish(Named("job_1", 4), None)
    assert [json.loads(record["body"]) for record in await queue.take()] == [{"jobId": "job_1", "turn": 4}]
    assert [json.loads(record["body"]) for record in await queue.take(wait=20)] == [{"jobId": "job_2", "turn": 5}]
    assert time() >= at, "never too early"


@pytest.mark.parametrize(
    ("later", "delay"), [(None, 0), (-5, 0), (0.25, 1), (90.25, 91), (900, 900), (86400.0, 900), (1e9, 900)]
)
async def test_no_call_is_held_back_for_longer_than_sqs_does(
    receiver: Receiver, later: float | None, delay: int
) -> None:
    push = SQS(URL, endpoint=receiver.url("/"))
    await push.publish(Named("job_1", 4), None if later is None else time() + later)
    [(operation, parameters)] = asked(receiver)
    assert operation == "SendMessage"
    assert parameters == {"QueueUrl": URL, "MessageBody": '{"jobId": "job_1", "turn": 4}', "DelaySeconds": delay}


async def test_a_call_that_comes_early_is_put_off_for_as_long_again(receiver: Receiver) -> None:
    store = MemoryStore(clock=FakeClock(time()))
    async with make_app(store, push=SQS(URL, endpoint=receiver.url("/"))) as app:
        job = await app.submit("count", {"to": 1}, delay=2000)
        store.clock.advance(900)
        assert not await app.run_slice(job, budget=10)
        assert [parameters["DelaySeconds"] for _, parameters in asked(receiver)] == [900, 900]


async def test_what_is_hidden_is_a_message_of_this_queue_or_of_one_beside_it(receiver: Receiver) -> None:
    push = SQS(URL, endpoint=receiver.url("/"))
    for name in ("jobs", "jobs-dead"):
        await push.hide("receipt", 7, arn=f"arn:aws:sqs:eu-central-1:123456789012:{name}")
    told = {"ReceiptHandle": "receipt", "VisibilityTimeout": 7}
    assert asked(receiver) == [
        ("ChangeMessageVisibility", {"QueueUrl": URL, **told}),
        ("ChangeMessageVisibility", {"QueueUrl": f"{URL}-dead", **told}),
    ]


def test_a_dead_letter_is_what_came_out_of_this_very_queue() -> None:
    own, dead = "arn:aws:sqs:eu-central-1:123456789012:jobs", "arn:aws:sqs:eu-central-1:123456789012:jobs-dead"
    others = "arn:aws:sqs:eu-central-1:210987654321:jobs"

    def gave_up(comes_from: str, moved_from: str | None) -> bool:
        moved = {} if moved_from is None else {"DeadLetterQueueSourceArn": moved_from}
        return SQS(URL).gave_up({"eventSourceARN": comes_from, "attributes": moved})

    assert gave_up(dead, own)
    assert not any(gave_up(dead, source) for source in (None, others, dead)), "it is another queue's, or nobody's"
    assert not gave_up(own, own), "somebody has moved it back"


async def test_what_sqs_does_not_take_is_left_to_the_sweep(queue: Queue) -> None:
    push = SQS(f"{queue.url}-absent")
    with pytest.raises(Unpublished, match=r"SQS answered .*NonExistentQueue"):
        await push.publish(Named("job_1", 0), None)
    async with make_app(push=push) as app:
        assert (await app.submit("count", {"to": 1})).status is Status.QUEUED
        assert app.observe.counts["push.unpublished"] == 1


async def test_where_sqs_is_not_reached_or_nobody_may_ask_it_the_error_says_so(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with receiving() as gone:
        pass
    with pytest.raises(Unpublished, match="EndpointConnectionError"):
        await SQS(URL, endpoint=gone.url("/")).publish(Named("job_1", 0), None)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(Unpublished, match="NoCredentialsError"):
        await SQS(URL, endpoint=receiver.url("/")).publish(Named("job_1", 0), None)
    assert receiver.got == []


# -- over HTTP ------------------------------------------------------------------------------------------------------


async def test_over_http_nothing_is_called_but_a_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRON_SECRET", SECRET)
    bearer = {"Authorization": f"Bearer {SECRET}"}
    async with make_app(push=SQS(URL)) as app, client(service(app, worker=False)) as http:
        assert (await http.get("/push/sweep", headers=bearer)).json() == {"ran": 0}
        refused = [await http.post(path, headers=bearer) for path in ("/push/sqs", "/push/dead")]
        refused.append(await http.post("/push/sweep"))
        assert [(reply.status_code, reply.json()["detail"]) for reply in refused] == [
            (401, "this call is not verified: it came over HTTP"),
            (401, "this call is not verified: it came over HTTP"),
            (401, "this call is not verified: the secret"),
        ]


async def test_without_a_secret_nobody_sweeps() -> None:
    async with make_app(push=SQS(URL)) as app, client(service(app, worker=False)) as http:
        reply: httpx2.Response = await http.get("/push/sweep", headers={"Authorization": "Bearer "})
        assert reply.status_code == 401


# -- how it is set up -----------------------------------------------------------------------------------------------


def test_it_is_set_up_by_a_url_and_by_what_the_environment_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTLAST_PUSH", f"sqs:{URL}?budget=840s")
    push = Outlast("memory://").push
    assert isinstance(push, SQS) and (push.budget, push.most, push._url) == (840, 840, URL)
    push = Outlast("memory://", push=SQS(URL)).push
    assert isinstance(push, SQS) and (push.budget, push.most) == (55, 900)


@pytest.mark.parametrize(
    ("url", "region", "endpoint"),
    [
        (URL, "eu-central-1", "https://sqs.eu-central-1.amazonaws.com"),
        (f"{URL}/", "eu-central-1", "https://sqs.eu-central-1.amazonaws.com"),
        (
            "https://sqs.cn-north-1.amazonaws.com.cn/123456789012/jobs",
            "cn-north-1",
            "https://sqs.cn-north-1.amazonaws.com.cn",
        ),
        (
            "https://us-gov-west-1.queue.amazonaws.com/1/jobs",
            "us-gov-west-1",
            "https://us-gov-west-1.queue.amazonaws.com",
        ),
        ("http://127.0.0.1:4566/000000000000/jobs", "ap-south-1", "http://127.0.0.1:4566"),
    ],
)
def test_the_region_and_the_address_are_those_of_the_url(
    monkeypatch: pytest.MonkeyPatch, url: str, region: str, endpoint: str
) -> None:
    monkeypatch.setenv("AWS_REGION", "ap-south-1")
    push = SQS(url)
    assert (push._region, push._endpoint) == (region, endpoint)
    assert SQS(url, region="eu-west-1")._region == "eu-west-1"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "jobs",
        "https://",
        "https://sqs.eu-central-1.amazonaws.com/jobs",
        "arn:aws:sqs:eu-central-1:1:jobs",
        f"{URL}?a",
    ],
)
def test_what_is_no_url_of_a_queue_is_refused_with_one_that_is(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"the URL of its queue, as the console shows it: https://sqs\."):
        SQS(url)


def test_a_fifo_queue_is_refused_with_the_reason() -> None:
    with pytest.raises(ConfigurationError, match=r"'jobs\.fifo' is a FIFO queue, which holds no single message back"):
        SQS(f"{URL}.fifo")


def test_without_a_region_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_REGION")
    with pytest.raises(ConfigurationError, match="AWS_REGION"):
        SQS("http://127.0.0.1:4566/000000000000/jobs")


def test_without_botocore_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"pip install 'outlast\[sqs\]'"):
        SQS(URL)
