"""What a function on Outlast imports of others', as it is measured: in a fresh process, with nothing done with it."""

import platform
from importlib.metadata import version

from bench.measured import Numbers, run
from bench.serverless_calls import FIRST, bare_environ, started

WEB = "starlette.applications,starlette.requests,starlette.responses,starlette.routing"
MODELS = "pydantic.main,pydantic.fields,pydantic.type_adapter"
"""`import pydantic` would import next to nothing; these are where `BaseModel`, `Field` and `TypeAdapter` come from."""


def cold(url: str, driver: str, starts: int) -> Numbers:
    """Each alone in a process of its own, added up; and all three in one, where they share what they import."""
    environ, each = bare_environ(), (WEB, MODELS, driver)
    apart = [sum(started("import", names, environ) for names in each) for _ in range(FIRST + starts)]
    return {"ms": apart[FIRST:], "together": [started("import", ",".join(each), environ) for _ in range(starts)]}


def facts(url: str) -> Numbers:
    versions = {name: version(name) for name in ("starlette", "pydantic", "apsw", "psycopg")}
    return {"versions": versions | {"Python": platform.python_version()}, "durability": "they keep nothing"}


if __name__ == "__main__":
    run({command.__name__: command for command in (cold, facts)})
