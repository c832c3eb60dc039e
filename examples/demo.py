"""The examples on one server: `python -m examples.demo`, or `./dev demo`.

Pages, jobs and a worker in one process, and a file to keep them. Kill it whenever you like and start it again: jobs and
open pages go on.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from ipaddress import ip_address

from examples.app import DATA, app
from examples.journeys.web import routes
from examples.models import choose
from outlast import Fail, OutlastError
from outlast.web.server import run
from outlast.web.service import service


def main(arguments: Sequence[str] | None = None) -> int:
    asked = _arguments(arguments)
    DATA.mkdir(exist_ok=True)
    os.environ.setdefault("EXAMPLES_MODEL_LOG", str(DATA / "model-calls.jsonl"))
    _show_logs()
    try:
        run(service(app, pages=routes), app, asked.host, asked.port, ready=_announce)
    except OutlastError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    return 0


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("examples.demo", description=__doc__)
    parser.add_argument("--port", type=int, default=8000, help="default 8000; 0 takes any that is free")
    parser.add_argument("--host", type=_loopback, default="127.0.0.1", help="a loopback address; default 127.0.0.1")
    return parser.parse_args(arguments)


def _loopback(host: str) -> str:
    """The demo lets everybody in, so only this machine may reach it."""
    try:
        if host == "localhost" or ip_address(host).is_loopback:
            return host
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{host!r} is not a loopback address, and the demo asks nobody for a key")


def _show_logs() -> None:
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    for name in ("outlast", "examples"):
        logging.getLogger(name).setLevel(logging.INFO)


def _announce(url: str) -> None:
    try:
        model = choose(os.environ).name
    except Fail as error:
        model = str(error)
    types = ", ".join(app.handlers)
    print(f"\n  The examples are on {url}/ (jobs: {types}; model: {model})\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
