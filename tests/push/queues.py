"""Queues of SQS, on the server of moto; and what AWS Lambda does with them, by a client that is not ours."""

import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from time import monotonic, sleep
from typing import Any
from uuid import uuid4

from aiobotocore.session import get_session

from tests.ports import free_port

REGION = "eu-central-1"

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "of-the-tests",
    "AWS_SECRET_ACCESS_KEY": "of-the-tests",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_REGION": REGION,
}
"""Credentials for which nobody looks anywhere else."""

SESSION = get_session()
"""Knows what SQS is like, which takes longer to read than most tests take to run."""

Event = Mapping[str, Any]
Invoke = Callable[[Event], Awaitable[Mapping[str, Any] | None]]
"""Calls a function with an event; answers None if it died or raised."""


def of_nobody_else(environ: Mapping[str, str]) -> dict[str, str]:
    """An environment without the settings of this machine, with ours."""
    others = ("AWS_", "OUTLAST", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "CRON_SECRET")
    return {name: value for name, value in environ.items() if not name.upper().startswith(others)} | ENVIRONMENT


@contextmanager
def serving() -> Iterator[str]:
    """The server, in a process of its own; gives its address."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen(command, env=of_nobody_else(os.environ), **quiet)
    try:
        _await_listening(server, port)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def _await_listening(server: "subprocess.Popen[bytes]", port: int) -> None:
    patience = monotonic() + 60
    while True:
        assert server.poll() is None and monotonic() < patience, "moto's server does not start"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            sleep(0.02)


@dataclass
class Queue:
    """A queue, and every message that was taken off it."""

    client: Any
    url: str
    arn: str
    source: str = ""
    """The ARN of the queue whose dead letters come here; AWS says it of each, and moto does not."""
    taken: list[dict[str, Any]] = field(default_factory=list)

    async def take(self, most: int = 10, wait: int = 0) -> list[dict[str, Any]]:
        """Messages that are visible now, or within so many seconds, as AWS Lambda shows them to a function."""
        found = await self.client.receive_message(
            QueueUrl=self.url, MaxNumberOfMessages=most, WaitTimeSeconds=wait, AttributeNames=["All"]
        )
        records = [self._record(message) for message in found.get("Messages", ())]
        self.taken += records
        return records

    async def deliver(self, invoke: Invoke, most: int = 10, wait: int = 0) -> int:
        """What AWS Lambda does: call the function with what is there, delete what is done; answers how many came."""
        records = await self.take(most, wait)
        if not records:
            return 0
        answer = await invoke({"Records": records})
        if answer is not None:
            failed = {one["itemIdentifier"] for one in answer["batchItemFailures"]}
            for record in records:
                if record["messageId"] not in failed:
                    await self.client.delete_message(QueueUrl=self.url, ReceiptHandle=record["receiptHandle"])
        return len(records)

    async def count(self) -> int:
        """Messages that are there, delayed and hidden ones too."""
        found = await self.client.get_queue_attributes(QueueUrl=self.url, AttributeNames=["All"])
        return sum(int(number) for name, number in found["Attributes"].items() if name.startswith("Approx"))

    def _record(self, message: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": message["Attributes"] | ({"DeadLetterQueueSourceArn": self.source} if self.source else {}),
            "messageAttributes": {},
            "md5OfBody": message["MD5OfBody"],
            "eventSource": "aws:sqs",
            "eventSourceARN": self.arn,
            "awsRegion": REGION,
        }


@asynccontextmanager
async def queues(address: str, *, hides: int = 30, receives: int = 10) -> AsyncIterator[tuple[Queue, Queue]]:
    """A queue, and the one for its dead letters.

    Parameters
    ----------
    hides: seconds for which a message that was received is hidden.
    receives: how often a message is received before it is a dead letter.
    """
    async with SESSION.create_client("sqs", region_name=REGION, endpoint_url=address) as client:
        name = f"jobs-{uuid4().hex[:12]}"
        dead = await _made(client, f"{name}-dead", {})
        redrive = f'{{"deadLetterTargetArn": "{dead.arn}", "maxReceiveCount": {receives}}}'
        queue = await _made(client, name, {"VisibilityTimeout": str(hides), "RedrivePolicy": redrive})
        dead.source = queue.arn
        yield queue, dead


async def _made(client: Any, name: str, attributes: Mapping[str, str]) -> Queue:
    url = (await client.create_queue(QueueName=name, Attributes=attributes))["QueueUrl"]
    found = await client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    return Queue(client, url, found["Attributes"]["QueueArn"])
