"""A bare Starlette app as it is measured: what HTTP itself costs in this process, without anything behind it."""

import platform
from importlib.metadata import version

from bench.http_calls import rate, served
from bench.measured import Numbers, run

SUBMIT = {"type": "noop", "payload": {"n": 1}}


def submits(url: str, seconds: float) -> Numbers:
    with served("starlette") as server:
        return {"rate": rate(f"{server.url}/jobs", seconds, body=SUBMIT)}


def gets(url: str, seconds: float) -> Numbers:
    with served("starlette") as server:
        return {"rate": rate(f"{server.url}/jobs/one", seconds)}


def summaries(url: str, seconds: float) -> Numbers:
    with served("starlette") as server:
        return {"rate": rate(f"{server.url}/jobs/summary", seconds)}


def facts(url: str) -> Numbers:
    versions = {name: version(name) for name in ("starlette", "uvicorn", "h11")}
    return {"versions": versions | {"Python": platform.python_version()}, "durability": "it keeps nothing"}


if __name__ == "__main__":
    run({command.__name__: command for command in (submits, gets, summaries, facts)})
