"""What a seed stands for: which jobs are submitted, who is about, and which faults there are.

Faults come swarm-style: each class is on or off for a whole schedule, with an intensity of its own, so that rare
combinations are met as well as the usual ones. All is drawn before anything is left out, so that a plan without some of
its parts is otherwise the same.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

T = TypeVar("T")

CALL_FAULTS = ("lose-request", "lose-reply", "late", "duplicate", "slow", "busy", "stale-read")
"""What may happen to a call on its way; the intensity is the chance of one call."""

NODE_FAULTS = ("kill", "pause", "clock")
"""What may happen to a process whenever it goes on; the intensity is the chance of one such moment."""

WORLD_FAULTS = ("restart", "deploy", "store-clock", "lag", "starve")
"""What happens once or twice in a schedule, at any time; some processes are slow (`lag`), and in some the renewals come
about when the lease ends (`starve`). No intensity."""

SHARE_ON = 0.3
"""Of the fault classes, in one schedule."""

Op = tuple[str, float]
"""What a scripted handler does next: `step` or `sleep` for so many seconds, `wait` at most so long, `yield`."""


@dataclass(frozen=True, slots=True)
class JobPlan:
    """A submit: when, with what, and what the handler will do. Times in seconds.

    Parameters
    ----------
    rival: another client submits under the same key: the `same`, or something `other`.
    writes: each step writes its value as output too.
    raises: the chance that an attempt fails once its script is played.
    poison: the chance that a step kills its worker.
    """

    number: int
    at: float
    type: str
    owner: str
    keyed: bool
    rival: str | None
    options: dict[str, float]
    script: tuple[Op, ...]
    writes: bool
    raises: float
    poison: float

    @property
    def name(self) -> str:
        return f"job-{self.number}"


def payload(job: JobPlan, rival: bool) -> str:
    """What a job is submitted with; a rival that asks for something else under the same key differs in it."""
    return f'{{"script":{job.number + 100 * rival}}}'


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a seed fixes before the first call.

    Parameters
    ----------
    seed: where all of it is drawn from.
    twist: another course of the same plan, for shrinking: what is drawn on the way differs.
    without: names of the parts left out.
    calm_at: when the faults end, in seconds from the beginning.
    stubborn: workers that run a step again, and send it again, when they got no answer.
    """

    seed: int
    twist: int
    without: frozenset[str]
    calm_at: float
    jobs: tuple[JobPlan, ...]
    workers: tuple[tuple[str, int], ...]
    sweepers: tuple[str, ...]
    others: tuple[str, ...]
    faults: dict[str, float]
    stubborn: bool

    def parts(self) -> Iterator[str]:
        """What may be left out, in the order in which shrinking tries it: actors, faults, jobs."""
        yield from self.others
        yield from [name for name, _ in self.workers if len(self.workers) > 1]
        yield from [name for name in self.sweepers if len(self.sweepers) > 1]
        yield from self.faults
        yield from [job.name for job in self.jobs if len(self.jobs) > 1]

    def lines(self) -> Iterator[str]:
        """The plan for people."""
        for job in self.jobs:
            script = ", ".join(f"{op} {seconds:.1f}" for op, seconds in job.script)
            options = ", ".join(f"{name}={value:.1f}" for name, value in job.options.items())
            keyed = f"under a key, rival: {job.rival}" if job.keyed else "without a key"
            yield f"{job.name} at {job.at:.1f} s ({job.type}, {options}; {keyed}): {script}"
            yield f"  raises {job.raises}, poison {job.poison}{', writes' * job.writes}"
        workers = [f"{name} with {slots} slots" for name, slots in self.workers]
        yield f"actors: {', '.join([*workers, *self.sweepers, *self.others])}{'; stubborn' * self.stubborn}"
        faults = ", ".join(f"{name} {intensity:.3f}" for name, intensity in self.faults.items())
        yield f"faults until {self.calm_at:.0f} s: {faults or 'none'}"

    def again(self) -> str:
        """The arguments that run this plan again."""
        twist = f" --twist {self.twist}" if self.twist else ""
        without = f" --without {','.join(sorted(self.without))}" if self.without else ""
        return f"--seed {self.seed}{twist}{without}"


OTHERS = ("canceller", "old-canceller", "signaller", "reader", "operator", "stranger")
"""Who may be about beside clients, workers and sweepers."""


def draw(chance: Random, seed: int, twist: int = 0, without: frozenset[str] = frozenset()) -> Plan:
    """The plan of a seed. `chance` is seeded by it here, and goes on from there."""
    chance.seed(seed)
    jobs = tuple([_job(chance, number) for number in range(_one(chance.random, (1, 1, 1, 1, 1, 1, 1, 1, 2, 3)))])
    workers = tuple([(f"worker-{n}", _one(chance.random, (1, 1, 2))) for n in range(_one(chance.random, (1, 2, 2, 3)))])
    sweepers = tuple([f"sweeper-{n}" for n in range(_one(chance.random, (1, 1, 2)))])
    others = tuple([name for name in OTHERS if chance.random() < 0.2])
    roll = chance.random
    faults = {name: most * 0.03 ** roll() for name, most in _MOST.items() if roll() < SHARE_ON}
    calm_at, stubborn = chance.uniform(20.0, 90.0), chance.random() < 0.2
    if twist:
        chance.seed(f"{seed} {twist}")
    return Plan(
        seed,
        twist,
        without,
        calm_at,
        tuple([job for job in jobs if job.name not in without]),
        tuple([worker for worker in workers if worker[0] not in without]),
        tuple([name for name in sweepers if name not in without]),
        tuple([name for name in others if name not in without]),
        {name: intensity for name, intensity in faults.items() if name not in without},
        stubborn,
    )


_MOST = {
    **dict.fromkeys(CALL_FAULTS, 0.3),
    "kill": 0.06,
    "pause": 0.2,
    "clock": 0.06,
    **dict.fromkeys(WORLD_FAULTS, 1.0),
}
"""The highest chance of each."""


def _job(chance: Random, number: int) -> JobPlan:
    draw = chance.random
    keyed = draw() < 0.6
    options: dict[str, float] = {"retries": _one(draw, (0, 0, 1, 1, 2))}
    if draw() < 0.15:
        options["delay"] = 1.0 + 29.0 * draw()
    if draw() < 0.2:
        options["deadline"] = 10.0 + 80.0 * draw()
    if draw() < 0.2:
        options["keep"] = 1.0 + 19.0 * draw()
    return JobPlan(
        number=number,
        at=10.0 * draw() + 0.001,
        type="timed" if draw() < 0.5 else "free",
        owner=_one(draw, ("owner-0", "owner-1")),
        keyed=keyed,
        rival=_one(draw, ("same", "other")) if keyed and draw() < 0.3 else None,
        options=options,
        script=tuple([_op(draw) for _ in range(_one(draw, (1, 2, 2, 3)))]),
        writes=draw() < 0.3,
        raises=_one(draw, (0.0, 0.0, 0.3, 0.9)),
        poison=_one(draw, (0.0, 0.0, 0.0, 0.7)),
    )


def _op(draw: Callable[[], float]) -> Op:
    name = _one(draw, ("step", "step", "step", "step", "wait", "sleep", "yield"))
    return name, _one(draw, (0.5, 2.0, 8.0, 30.0)) if name == "step" else 1.0 + 19.0 * draw()


def _one(draw: Callable[[], float], of: Sequence[T]) -> T:
    """`Random.choice`, at a third of the price."""
    return of[int(draw() * len(of))]
