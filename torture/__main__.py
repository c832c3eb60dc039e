"""`./dev torture [NAME...] [--tenth]`: run the tortures whole, or a part of each; ends with 1 if one failed.

How a torture plugs in
    A torture is a module or package of this folder, imported here, and one line in TORTURES.
    `run(fraction)`     runs this fraction of its full number of trials (1.0 is the whole, 0.1 what CI runs) and answers
                        a Report. It may print its progress; the report is printed here. A trial that fails is a text in
                        `Report.failures` with the command that runs it again, and not an exception.
    `replay(arguments)` runs one trial again, told by the arguments that follow NAME (`--seed 17`), with whatever helps
                        to understand it printed on the way; its report is printed here too. None: there is no replay.
    Everything that a torture does by chance comes from its seed. How many processes it uses is its own affair.
"""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torture import answers, cuts, failpoints, kills, requests, servers, simulation
from torture.report import Report
from torture.serverless import trial as serverless


@dataclass(frozen=True, slots=True)
class Torture:
    """One line of the table."""

    run: Callable[[float], Report]
    replay: Callable[[Sequence[str]], Report] | None = None


TORTURES: Mapping[str, Torture] = {
    "simulation": Torture(simulation.run, simulation.replay),
    "cuts": Torture(cuts.run, cuts.replay),
    "failpoints": Torture(failpoints.run, failpoints.replay),
    "kills": Torture(kills.run),
    "servers": Torture(servers.run),
    "answers": Torture(answers.run),
    "serverless": Torture(serverless.run),
    "requests": Torture(requests.run, requests.replay),
}


def main() -> int:
    asked, rest = _parser().parse_known_args()
    unknown = [name for name in asked.names if name not in TORTURES]
    if unknown:
        return _usage(f"no torture is called {unknown[0]}; there are {', '.join(TORTURES)}")
    names = asked.names or list(TORTURES)
    if rest:
        return _replay(names, rest)
    fraction = 0.1 if asked.tenth else float(os.environ.get("OUTLAST_TORTURE", "1"))
    return max([_print(TORTURES[name].run(fraction)) for name in names], default=0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./dev torture", allow_abbrev=False)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(TORTURES)}; all if none is named")
    parser.add_argument("--tenth", action="store_true", help="a tenth of each; OUTLAST_TORTURE=0.1 does the same")
    parser.epilog = "What follows the name of one torture is for its replay, such as --seed 17."
    return parser


def _replay(names: Sequence[str], arguments: Sequence[str]) -> int:
    replay = TORTURES[names[0]].replay if len(names) == 1 else None
    if replay is None:
        return _usage(f"{' '.join(arguments)} is for the replay of one torture, named before it")
    return _print(replay(arguments))


def _print(report: Report) -> int:
    print(*report.lines(), sep="\n", flush=True)
    return 0 if report.passed else 1


def _usage(problem: str) -> int:
    print(problem, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
