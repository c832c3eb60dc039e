"""serve, worker: a process that answers requests, runs jobs, or both."""

import asyncio
import gc
import logging
from collections.abc import Callable
from difflib import get_close_matches
from typing import TYPE_CHECKING

import click

from outlast.cli import env
from outlast.cli.address import is_loopback
from outlast.cli.exits import DONE, STUCK, Refused
from outlast.cli.signals import Terminated, asked_to_stop, ends_cleanly
from outlast.policy import MOST_SLOTS
from outlast.web.keys import RECIPE

if TYPE_CHECKING:
    from outlast.app import Outlast

logger = logging.getLogger("outlast")

app_argument = click.argument("place", metavar="MODULE:APP")
store_option = click.option("--store", metavar="URL", help="Instead of the app's store and OUTLAST_STORE.")
concurrency_option = click.option(
    "--concurrency", metavar="N", type=click.IntRange(1, MOST_SLOTS), help="Jobs at once; by default as the app says."
)


@click.command()
@app_argument
@click.option("--host", metavar="HOST", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", metavar="PORT", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: any.")
@store_option
@concurrency_option
@click.option("--no-worker", is_flag=True, help="Answer requests only; jobs wait for an `outlast worker`.")
@click.option("--reload", is_flag=True, help="Start again whenever a .py file below this folder changes.")
def serve(
    place: str, host: str, port: int, store: str | None, concurrency: int | None, no_worker: bool, reload: bool
) -> None:
    """Serve the app at MODULE:APP: its jobs over HTTP, and a worker that runs them.

    MODULE:APP is shop.jobs:app or path/to/jobs.py:app. On this machine alone (loopback) no key is needed; any other
    --host needs OUTLAST_KEYS. SIGTERM or Ctrl-C hands running jobs back and ends; a second one ends at once.
    """
    if reload:
        from outlast.cli.reload import supervise

        raise click.exceptions.Exit(supervise())

    def begin(app: "Outlast") -> None:
        from outlast.cli import relaxed
        from outlast.web.auth import Door
        from outlast.web.server import run
        from outlast.web.service import service

        is_open = Door(app, None).is_open
        if is_open and not is_loopback(host):
            raise Refused(_open_to_all(host))

        def ready(url: str) -> None:
            logger.info("serving %s", url)
            if is_open:
                logger.info(relaxed.OPEN)
            _check(app, *relaxed.address(host))

        run(service(app, worker=not no_worker), app, host, port, ready=ready)

    _with_app(place, store, concurrency, begin)


def _open_to_all(host: str) -> str:
    return (
        f"on {host} everybody could submit and read jobs. Set OUTLAST_KEYS=id:owner:jobs:read+jobs:write:sha256hex "
        f"({RECIPE}), or listen on --host 127.0.0.1, or mount the app in your own with "
        "app.mount(..., authenticate=...)"
    )


@click.command()
@app_argument
@store_option
@concurrency_option
@click.option("--only", metavar="A,B", help="Take jobs of these types alone.")
@click.option("--except", "leave", metavar="C", help="Take jobs of all types but these.")
@click.option("--burst", is_flag=True, help="End when no job is ready any more.")
def worker(
    place: str, store: str | None, concurrency: int | None, only: str | None, leave: str | None, burst: bool
) -> None:
    """Run the jobs of the app at MODULE:APP, and serve nothing.

    Any number of workers may share a store. SIGTERM or Ctrl-C hands running jobs back and ends; a second one ends at
    once.
    """
    _with_app(place, store, concurrency, lambda app: asyncio.run(_work(app, chosen(app, only, leave), burst)))


def chosen(app: "Outlast", only: str | None, leave: str | None) -> frozenset[str]:
    """The types that a worker takes."""
    known = frozenset(app.handlers)
    taken = known if only is None else _types(only, known)
    left = taken - _types(leave, known) if leave is not None else taken
    if not left and (only, leave) != (None, None):
        raise Refused(f"--only and --except leave no type to take; known are {', '.join(sorted(known)) or 'none'}")
    return left


def _types(text: str, known: frozenset[str]) -> frozenset[str]:
    types = frozenset(name.strip() for name in text.split(",") if name.strip())
    for name in sorted(types - known):
        near = get_close_matches(name, known, n=1)
        meant = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known)) or 'none'}"
        raise Refused(f"there is no handler for {name[:64]!r}; {meant}")
    return types


async def _work(app: "Outlast", types: frozenset[str], burst: bool) -> None:
    with asked_to_stop() as asked:
        async with app, app.working(burst=burst, types=types) as worker:
            _check(app)
            waits = {asyncio.create_task(asked.wait()), asyncio.create_task(worker.ended.wait())}
            _, pending = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in pending:
                wait.cancel()


def _with_app(place: str, store: str | None, concurrency: int | None, begin: Callable[["Outlast"], None]) -> None:
    try:
        with ends_cleanly():
            from outlast.cli import load, logs

            app = load.load(place)
            app.store = store or app.store
            app.concurrency = concurrency or app.concurrency
            logs.set_up()
            _spare_the_collector()
            begin(app)
    except Terminated:
        raise click.exceptions.Exit(DONE) from None
    if app.stuck:
        raise click.exceptions.Exit(STUCK)


def _spare_the_collector() -> None:
    # What was imported stays, and a job leaves next to nothing in circles: to look for it every few jobs costs more
    # than it ever finds.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _check(app: "Outlast", *more: str) -> None:
    """What the store's own line and warnings, which came first, do not say: our version, and what is relaxed."""
    import platform
    from importlib.metadata import version

    from outlast.cli import relaxed

    logger.info("outlast %s on Python %s", version("outlast"), platform.python_version())
    for warning in env.unknown():
        logger.warning(warning)
    for setting in (*relaxed.settings(app), *more):
        logger.warning("relaxed: %s", setting)
    if not app.handlers:
        logger.warning("the app has no handler, so every submit is refused; register one with @app.handler")
