"""The app of the torture `requests`, in a process whose web layer breaks the word of its description."""

from typing import Any

from outlast.presence import WorkerInfo
from outlast.web import lists, operators
from torture.requests.app import app

__all__ = ["app"]


def without_slots(worker: WorkerInfo) -> dict[str, Any]:
    return {"id": worker.id}


async def defect(*args: Any) -> Any:
    raise RuntimeError("planted")


operators._wire = without_slots
lists._counts = defect
