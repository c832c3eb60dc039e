"""Lost answers: a server dies before or after the commit of a submit; sent again with its key, it is the same job."""

import asyncio
import http.client
import json
import logging
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from outlast.stores import open_store
from outlast.stores.base import Query
from torture.crew.workers import Crew, address, until
from torture.failing.store import KILLED
from torture.report import Report

ROUNDS = 200
SITE = "insert by stores.batching"
PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Sent:
    """A submit whose answer was lost, and what it was answered the second time: the job, and whether it was known."""

    key: str
    committed: bool
    id: str
    known: bool


def run(fraction: float) -> Report:
    """Kill a server at so many submits."""
    began = time.monotonic()
    logging.disable()
    lanes, rounds = os.cpu_count() or 1, max(round(ROUNDS * fraction), 1)
    shares = [len(range(lane, rounds, lanes)) for lane in range(lanes)]
    found = asyncio.run(_all(shares))
    sent = [one for its, _ in found for one in its]
    flaws = [flaw for its, jobs in found for flaw in _flaws(its, jobs)]
    return Report(
        name="answers",
        unit="lost answers",
        trials=len(sent),
        seeds=f"0..{lanes - 1}",
        seconds=time.monotonic() - began,
        processes=lanes,
        counters={
            "killed before the commit": sum(not one.committed for one in sent),
            "killed between commit and answer": sum(one.committed for one in sent),
        },
        figures={"keys with more than one job, or with another": f"{len(flaws):,}"},
        failures=flaws,
    )


async def _all(shares: Sequence[int]) -> list[tuple[list[Sent], list[str | None]]]:
    return await asyncio.gather(*(_lane(seed, rounds) for seed, rounds in enumerate(shares) if rounds))


async def _lane(seed: int, rounds: int) -> tuple[list[Sent], list[str | None]]:
    """So many rounds on one file, one after the other; answers the lost submits, and the keys of all jobs there are.

    Each server gets the submit whose answer the one before it did not give, and dies at another.
    """
    chance = Random(seed)
    sent: list[Sent] = []
    with tempfile.TemporaryDirectory(prefix="outlast-answers-") as folder:
        with Crew(Path(folder), app="torture.failing.app:app") as crew:
            lost: tuple[str, bool] | None = None
            for number in range(rounds):
                key, committed = f"key-{number}", chance.random() < 0.7
                when = "after" if committed else "before"
                async with _Server(crew, FAIL_AT=f"{when} {SITE}", FAIL_NTH="1" if lost is None else "2") as server:
                    sent += [] if lost is None else [await server.again(*lost)]
                    await server.die_at(key)
                lost = key, committed
            async with _Server(crew) as server:
                sent += [] if lost is None else [await server.again(*lost)]
        async with open_store(crew.url) as store:
            return sent, [job.idempotency_key for job in await store.find(Query(limit=rounds * 2))]


class _Server:
    def __init__(self, crew: Crew, **env: str) -> None:
        self._crew, self._env = crew, env
        self._address = ""

    async def __aenter__(self) -> "_Server":
        self._logged = self._crew.logged
        self.process = self._crew.serve("--no-worker", **self._env)
        await until(self._serving, "the server says where it is", PATIENCE)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._crew.kill(self.process)

    async def _serving(self) -> bool:
        self._address = address(self._crew.log(self._logged))
        return bool(self._address)

    async def again(self, key: str, committed: bool) -> Sent:
        """Send a submit whose answer was lost once more."""
        answer = await asyncio.to_thread(self._submit, key)
        if answer is None:
            raise RuntimeError("the server has not answered a submit at which it was not to die")
        return Sent(key, committed, *answer)

    async def die_at(self, key: str) -> None:
        """Send a submit at which the server dies."""
        if await asyncio.to_thread(self._submit, key) is not None:
            raise RuntimeError("the server has answered a submit at which it was to die")
        if await asyncio.to_thread(self.process.wait, PATIENCE) != KILLED:
            raise RuntimeError(f"the server that was to die ended with {self.process.returncode}")

    def _submit(self, key: str) -> tuple[str, bool] | None:
        """The job's id, and whether it was known; None if the answer was lost."""
        connection = http.client.HTTPConnection(self._address, timeout=PATIENCE)
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        try:
            connection.request("POST", "/jobs", json.dumps({"type": "streams", "payload": {}}), headers)
            answer = connection.getresponse()
            job = json.loads(answer.read())
        except (http.client.RemoteDisconnected, ConnectionResetError):
            return None
        finally:
            connection.close()
        if answer.status != 202:
            raise RuntimeError(f"POST /jobs was answered {answer.status}: {job}")
        return job["id"], answer.headers["Idempotency-Replayed"] == "true"


def _flaws(sent: Sequence[Sent], keys: Sequence[str | None]) -> Iterator[str]:
    jobs = Counter(keys)
    for one in sent:
        if jobs[one.key] != 1:
            yield f"DOUBLED: {one.key} has {jobs[one.key]} jobs"
        if one.known != one.committed:
            yield f"LOST: {one.key} was committed: {one.committed}; it was known when it was sent again: {one.known}"
