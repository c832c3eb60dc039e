"""What a torture found, and how it is printed: the same lines for each."""

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The outcome of `trials` trials.

    Parameters
    ----------
    name: of the torture, as on the command line.
    unit: what one trial is, in the plural, such as `schedules`.
    trials: how many were run.
    seeds: which ones, so that they can be run again, such as `0..999999`.
    seconds: how long all of it took, by the wall clock.
    processes: how many cores were at it.
    counters: what the trials went through; a torture that met no fault proved nothing, so none may be zero.
    figures: what else was measured, as it shall be read.
    failures: a text for each trial that failed: what broke, and the command that runs it again.
    """

    name: str
    unit: str
    trials: int
    seeds: str
    seconds: float
    processes: int = 1
    counters: Mapping[str, int] = field(default_factory=dict)
    figures: Mapping[str, str] = field(default_factory=dict)
    failures: Sequence[str] = ()

    @property
    def unmet(self) -> list[str]:
        """The counters that stayed at zero."""
        return [name for name, count in self.counters.items() if count == 0]

    @property
    def passed(self) -> bool:
        return self.trials > 0 and not self.failures and not self.unmet

    def lines(self) -> Iterator[str]:
        """The report for people."""
        a_minute = self.trials / max(self.seconds, 1e-9) * 60 / self.processes
        yield f"{self.name}: {'passed' if self.passed else 'FAILED'}, commit {commit()}"
        yield f"  {self.trials:,} {self.unit}, seeds {self.seeds}"
        yield f"  {self.seconds:,.1f} s with {self.processes} processes: {a_minute:,.0f} a minute on one core"
        yield f"  {self._bound()}"
        for name, value in (*self.figures.items(), *((name, f"{n:,}") for name, n in self.counters.items())):
            yield f"  {name}: {value}"
        for name in self.unmet:
            yield f"  NEVER MET: {name}. Whatever it was to prove, this run did not"
        for failure in self.failures:
            yield f"\n{failure}"

    def _bound(self) -> str:
        if self.failures or not self.trials:
            return f"{len(self.failures)} failures shown, of {self.trials:,} {self.unit}"
        # The rule of three: with no failure in n trials, a rate above 3/n would have shown itself 19 times in 20.
        return f"0 failures in {self.trials:,}: at 95 % fewer than 3/n = {3 / self.trials:.2g} of all {self.unit} fail"


def commit() -> str:
    """The commit that is tried, with a `+` if files have changed since."""
    head = _git("rev-parse", "--short", "HEAD")
    return (head or "unknown") + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")


def _git(*command: str) -> str:
    here = Path(__file__).parent
    return subprocess.run(["git", "-C", here, *command], check=False, capture_output=True, text=True).stdout.strip()
