"""taskiq as it is measured: a Redis stream, whose jobs are acknowledged when they are done, and uvloop.

No result is kept, which costs it the least.
"""

import asyncio
import platform
import time
from collections.abc import Coroutine, Sequence
from importlib.metadata import version
from typing import Any

import uvloop  # type: ignore[import-not-found,unused-ignore]  # in an environment of its own
from redis.asyncio import Redis
from taskiq.receiver import Receiver  # type: ignore[import-not-found]
from taskiq_redis import RedisStreamBroker  # type: ignore[import-not-found]

from bench.measured import WARM_UP, Numbers, Seen, awaiting, gathered, ready, repeated, resident, run, spaced

CONNECTIONS = 300
"""More than the 50 of redis-py's pool, past which one acknowledgement waits for another. More yet would suit its drain,
fewer its sleeping jobs."""

SLOTS = 100
"""What its own command line takes unless told otherwise."""

seen = Seen()


class Bench:
    """A broker on this server, with its handlers."""

    def __init__(self, url: str) -> None:
        self.broker: Any = RedisStreamBroker(url, max_connection_pool_size=CONNECTIONS)

        @self.broker.task  # type: ignore[untyped-decorator]
        async def noop() -> None:
            seen.called()

        @self.broker.task  # type: ignore[untyped-decorator]
        async def sleeper(seconds: float) -> None:
            seen.called()
            await asyncio.sleep(seconds)

        @self.broker.task  # type: ignore[untyped-decorator]
        async def numbered(number: int) -> None:
            seen.called(number)

        self.noop: Any = noop
        self.sleeper: Any = sleeper
        self.numbered: Any = numbered

    def work(self, slots: int) -> None:
        """As its command line does, for as long as this process lives: when told to end, it does not always."""
        receiver = Receiver(self.broker, None, max_async_tasks=slots, run_startup=False)
        self.working = asyncio.create_task(receiver.listen(asyncio.Event()))

    async def pending(self) -> int:
        """Jobs that were delivered and not yet acknowledged."""
        async with Redis(connection_pool=self.broker.connection_pool) as redis:
            pending: int = (await redis.xpending("taskiq", "taskiq"))["pending"]
            return pending


# -- the measurements ---------------------------------------------------------------------------------------------


async def drain(url: str, jobs: int, slots: int) -> Numbers:
    """Jobs that wait already: from before the worker starts until all are acknowledged."""
    bench = await opened(url)
    return {"rate": jobs / await until_done(bench, jobs, slots, bench.noop), "mib": resident()}


async def submits(url: str, jobs: int, callers: int) -> Numbers:
    bench = await opened(url)
    await repeated(WARM_UP, bench.noop.kiq)
    return {"rate": jobs / await gathered(callers, jobs, bench.noop.kiq)}


async def work(url: str, jobs: int) -> Numbers:
    """The worker of a pair of processes; the other one is `submit`."""
    bench = await opened(url)
    done = seen.awaited(jobs)
    bench.work(SLOTS)
    # It waits on the server before the first job comes.
    await asyncio.sleep(1)
    ready()
    await done.wait()
    return {"started": seen.in_order()}


async def submit(url: str, jobs: int, between: Sequence[float]) -> Numbers:
    bench = await opened(url)
    return {"submitted": await spaced(jobs, between, bench.numbered.kiq)}


async def sleepers(url: str, jobs: int) -> Numbers:
    """As `drain`, of jobs that sleep for a second, with a slot for each."""
    bench = await opened(url)
    return {"seconds": await until_done(bench, jobs, jobs, bench.sleeper, 1.0)}


async def facts(url: str) -> Numbers:
    versions = {name: version(name) for name in ("taskiq", "taskiq-redis", "uvloop")}
    return {
        "versions": {**versions, "redis-py": version("redis"), "Python": platform.python_version()},
        "durability": "as the server; no result is kept",
    }


# -- how they are made ----------------------------------------------------------------------------------------------


async def opened(url: str) -> Bench:
    """Its group of consumers is made at once, for it sees only the jobs that come later."""
    bench = Bench(url)
    await bench.broker.startup()
    return bench


async def until_done(bench: Bench, jobs: int, slots: int, task: Any, *arguments: object) -> float:
    await gathered(50, jobs, lambda: task.kiq(*arguments))
    done = seen.awaited(jobs)
    began = time.perf_counter()
    bench.work(slots)
    await done.wait()
    while await bench.pending():
        await asyncio.sleep(0.002)
    return time.perf_counter() - began


def until_answered(command: Coroutine[Any, Any, Numbers]) -> Numbers:
    return uvloop.new_event_loop().run_until_complete(command)  # type: ignore[no-any-return,unused-ignore]


if __name__ == "__main__":
    commands = (drain, submits, work, submit, sleepers, facts)
    run({command.__name__: awaiting(command, until_answered) for command in commands})
