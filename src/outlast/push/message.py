"""What a call says: the job's id, and the turn it had when the call was asked for."""

import json
import re
from collections.abc import Mapping
from typing import Any

from outlast.notation import JOB_ID
from outlast.push.base import Named


def message_of(named: Named) -> str:
    """The call for this job, as a queue keeps it."""
    return json.dumps({"jobId": named.job_id, "turn": named.turn})


def named_in(message: bytes | str) -> Named | None:
    """The job that a call names; None for what is no such call."""
    fields = fields_of(message)
    job_id, turn = fields.get("jobId"), fields.get("turn")
    if not (isinstance(job_id, str) and re.fullmatch(JOB_ID, job_id) and isinstance(turn, int)):
        return None
    return Named(job_id, turn)


def fields_of(text: bytes | str) -> Mapping[str, Any]:
    """The JSON object of this text; an empty one if there is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
