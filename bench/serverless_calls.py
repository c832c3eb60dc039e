"""Fresh processes, and what they are asked and told: what the programs of the serverless suite share."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from outlast.job import Job
from torture.serverless.queue import signed

SITE = "https://shop.example"
NOWHERE = "http://127.0.0.1:1"
"""What is published where nothing is to be."""

FIRST = 3
"""Starts and calls that are not counted: they make the bytecode, and open what stays open."""

TOKEN, KEY = "of-the-account", f"sig_{'a' * 28}"

HEALTH = {"method": "GET", "path": "/healthz", "headers": {}, "body": "", "wanted": "ok"}


def run_of(job: Job[Any]) -> dict[str, Any]:
    """The call of QStash that runs a slice of this job."""
    body = json.dumps({"jobId": job.id, "turn": job.turn})
    headers = {"upstash-signature": signed(KEY, f"{SITE}/push/qstash", body.encode())}
    return {"method": "POST", "path": "/push/qstash", "headers": headers, "body": body, "wanted": '"ran":true'}


def settings(store: str, *, site: str = SITE, queue: str = NOWHERE, budget: float = 10.0) -> dict[str, str]:
    """The environment of a function."""
    return bare_environ() | {
        "OUTLAST_STORE": store,
        "OUTLAST_PUSH": f"qstash:{site}?budget={budget:g}s",
        "QSTASH_URL": queue,
        "QSTASH_TOKEN": TOKEN,
        "QSTASH_CURRENT_SIGNING_KEY": KEY,
    }


def bare_environ() -> dict[str, str]:
    """With bytecode, which is made where a function is built, whatever this machine is set to."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def started(what: str, given: str, environ: Mapping[str, str]) -> float:
    """Milliseconds of a cold start; see serverless_start.py."""
    return float(_ran([what, given], environ).stdout)


def own_imports(request: Mapping[str, Any], environ: Mapping[str, str]) -> float:
    """Milliseconds of a cold start that go to Outlast's own modules, without those that they import."""
    told = _ran(["ask", json.dumps(request)], environ, "-X", "importtime").stderr
    # import time: self [us] | cumulative | imported package
    lines = [line.removeprefix("import time:").split("|") for line in told.splitlines() if line.count("|") == 2]
    return sum(int(own) for own, _, name in lines if name.split(".")[0].strip() == "outlast") / 1000


def _ran(words: list[str], environ: Mapping[str, str], *options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, *options, "-m", "bench.serverless_start", *words]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"a cold start ended with {done.returncode}: {done.stderr[-2000:]}")
    return done
