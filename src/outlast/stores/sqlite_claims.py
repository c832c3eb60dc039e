"""How the jobs of a SQLite file are claimed.

Nearly all claims are alike, so the engine makes them by itself, in one statement for all jobs of a call: `MOVE` is
`lifecycle.claim` for a plain job, one that nobody wants cancelled, that has shown nothing yet, and whose log is no
longer than its row may hold. What is not plain is claimed as lifecycle decides.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any

from outlast.stores import rows

LOGGED = 4096
"""Characters of a job's log that its row may hold; a claim moves what is longer to the table of events."""

_N = rows.WHOLE.index("n")

_ATTEMPT = "iif(resumes, max(attempt, 1), attempt + 1)"
_STARTED = f"""
    ',[' || (seq + 1) || ',"job.started",' || :now_text || ',' || {_ATTEMPT}
         || ',{{"status":"processing","resumes":' || iif(resumes, 'true', 'false') || '}}]'"""
MOVE = {
    "status": "'processing'",
    "turn": "turn + 1",
    "lease": "lower(hex(substr(:leases, 16 * taken.key + 1, 16)))",
    "lease_until": ":until",
    "worker": ":worker",
    "tag": "null",
    "next_at": "null",
    "attempt": _ATTEMPT,
    "resumes": "0",
    "claimed_at": ":now",
    "ran": "iif(resumes, ran, 0.0)",
    "waiting": "null",
    "started_at": "ifnull(started_at, :now)",
    "seq": "seq + 1",
    "version": "seq + 1",
    "updated_at": ":now",
}
"""What a claim sets of a plain job, by column."""

_ELSEWHERE = {
    **dict.fromkeys((*rows.SHOWN, "result_json"), "null"),
    "appended": "0",
    "logged": "length(log)",
    "asked": "(select asked from asked where asked.n = job.n)",
    "payload": "(select payload from asked where asked.n = job.n)",
    "last_error": "(select last_error from result where result.n = job.n)",
}
"""Columns of a whole row that are not those of the table `job`, for a plain job that was just claimed."""

CLAIM = f"""
    update job set log = log || {_STARTED}, {", ".join(f"{name} = {value}" for name, value in MOVE.items())}
      from json_each(:ns) as taken
     where job.n = taken.value and cancel_requested_at is null and length(log) <= {LOGGED}
       and not exists (select 1 from live where live.n = job.n)
    returning {", ".join(_ELSEWHERE.get(name, name) for name in rows.WHOLE)}"""


def take_plain(
    execute: Callable[..., Any], ns: Sequence[int], worker: str, until: float, now: float
) -> dict[int, rows.Values]:
    """Claim what is plain of these claimable jobs; their whole rows as they are after it, by number."""
    values: dict[str, Any] = {"ns": rows.dumps(ns), "leases": os.urandom(16 * len(ns)), "worker": worker}
    values |= {"until": until, "now": now, "now_text": repr(now)}
    return {row[_N]: row for row in execute(CLAIM, values)}
