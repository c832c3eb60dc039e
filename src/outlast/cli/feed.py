"""A job's events over as many connections as it takes: each once, in order, to the last."""

import time
from collections.abc import Callable, Iterator
from random import uniform
from typing import Any

import httpx2

from outlast.cli.client import Client
from outlast.cli.exits import Unreachable
from outlast.ends import END_EVENTS
from outlast.job import ENDED

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 5.0

SILENCE = httpx2.Timeout(45.0, connect=5.0)
"""The server pings each 15 s; after three pings missed it is gone."""

Event = dict[str, Any]


class Feed:
    """The events of one job.

    Parameters
    ----------
    client: its server has just answered, so it is worth waiting for when it goes away.
    after: the number of the last event that is known already.
    lost: called at each try while the server is gone, and with None when it is there.
    """

    def __init__(self, client: Client, job_id: str, after: int, *, lost: Callable[[str | None], None]) -> None:
        self._client = client
        self._job_id = job_id
        self._after = after
        self._lost = lost

    def __iter__(self) -> Iterator[Event]:
        """To the event that ends the job, or to a snapshot that shows it ended. Raises Refused."""
        pause = FIRST_PAUSE
        while True:
            try:
                for event in self._connection():
                    pause = FIRST_PAUSE
                    yield event
                    if is_last(event):
                        return
            except (httpx2.TransportError, Unreachable) as error:
                self._lost(f"{self._client} is gone ({type(error).__name__}); trying again")
            time.sleep(pause * uniform(0.8, 1.0))
            pause = min(pause * 2, LONGEST_PAUSE)

    def _connection(self) -> Iterator[Event]:
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(self._after)}
        path = f"/jobs/{self._job_id}/events"
        with self._client.http.stream("GET", path, headers=headers, timeout=SILENCE) as response:
            self._check(response)
            if response.status_code == 204:
                yield self._as_it_ended()
                return
            for frame in httpx2.EventSource(response, max_event_size=None):
                # A frame without data is about the stream itself, such as `retry: 2000`.
                if frame.data and self._is_new(event := self._client.read(frame.data)):
                    yield event

    def _check(self, response: httpx2.Response) -> None:
        if not response.is_success:
            response.read()
        self._client.check(response)
        self._lost(None)

    def _is_new(self, event: Event) -> bool:
        """Moves the cursor. What the stream says for itself is no event, and what is known is not told again."""
        if event["type"].startswith("stream."):
            return False
        if event["type"] in ("job.reset", "job.snapshot"):
            # The log does not reach our cursor: the server begins anew from what the job now is.
            self._after = event["seq"]
            return True
        new: bool = event["seq"] > self._after
        self._after = max(self._after, event["seq"])
        return new

    def _as_it_ended(self) -> Event:
        """There is nothing after our cursor any more."""
        job = self._client.ask("GET", f"/jobs/{self._job_id}").value
        head = {"type": "job.snapshot", "jobId": job["id"], "seq": job["seq"]}
        return head | {"time": job["updatedAt"], "attempt": job["attempt"], "job": job}


def is_last(event: Event) -> bool:
    """Whether nothing comes after this event."""
    return event["type"] in END_EVENTS or (event["type"] == "job.snapshot" and event["job"]["status"] in ENDED)
