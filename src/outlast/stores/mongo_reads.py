"""What reads the documents. A job is read before its parts: what leaves its box in between is seen twice, never not."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any

from outlast.job import Event, Job, Signal, Status, Step
from outlast.report import REPORTS, Report
from outlast.stores import mongo_documents as documents
from outlast.stores import rows
from outlast.stores.base import ANY, Clock, Head, Owner, Query, Record
from outlast.stores.mongo_documents import GONE, Document, Entries
from outlast.stores.mongo_server import JOBS, PARTS, RECORDS, Database

LAST_CHARACTER = chr(0x10FFFF)
_THERE = {"$ne": GONE}


class Reads:
    """The reads of one store; every call runs on the loop of its client."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._jobs, self._parts, self._records = database[JOBS], database[PARTS], database[RECORDS]
        self._now = clock.now

    async def get(self, ids: Sequence[str], owner: Owner, payload: bool) -> list[Job[Any] | None]:
        shown = documents.SHOWN if payload else documents.LIGHT
        found = self._jobs.find({"_id": {"$in": list(ids)}, "status": _THERE}, shown)
        jobs = {document["_id"]: documents.job_of(document) async for document in found}
        seen = {id: job for id, job in jobs.items() if owner in (ANY, job.owner)}
        return [seen.get(id) for id in ids]

    async def find(self, query: Query) -> list[Job[Any]]:
        if query.limit <= 0:
            return []
        wanted = _matching(query)
        if query.before is not None:
            wanted["id"] = {"$gt" if query.oldest_first else "$lt": query.before}
        found = self._jobs.find(wanted, documents.PLAIN)
        found = found.sort("id", 1 if query.oldest_first else -1).limit(query.limit)
        return [documents.job_of(document) async for document in found]

    async def count(self, query: Query) -> dict[tuple[str, Status], int]:
        shape = {"$concat": ["$status", "/", "$type"]}
        stages = [{"$match": _matching(query)}, {"$group": {"_id": shape, "n": {"$sum": 1}}}]
        counts = {}
        async for group in await self._jobs.aggregate(stages):
            status, _, type = group["_id"].partition("/")
            counts[type, Status(status)] = int(group["n"])
        return counts

    async def due(self, limit: int, dead: Collection[str]) -> list[Job[Any]]:
        if limit <= 0:
            return []
        now = self._now()
        live = [job async for job in self._first({"due_at": {"$lte": now}}, "due_at", limit)]
        if dead:
            held = {"worker": {"$in": list(dead)}, "due_at": {"$gt": now}}
            live += [job async for job in self._first(held, "due_at", limit)]
        live = sorted(live, key=_due_at)[:limit]
        if len(live) == limit:
            return live
        return live + [job async for job in self._first({"gone_at": {"$lte": now}}, "gone_at", limit - len(live))]

    async def _first(self, wanted: Document, by: str, limit: int) -> AsyncIterator[Job[Any]]:
        async for document in self._jobs.find(wanted, documents.PLAIN).sort(by, 1).limit(limit):
            # Whoever began to purge it did not come to the end: to be purged again, like any ended job.
            left = document["status"] == GONE
            yield documents.job_of(document | {"status": Status.CANCELLED.value} if left else document)

    # -- what belongs to a job ---------------------------------------------------------------------------------------

    async def events(self, job_id: str, after: int, limit: int, output: bool) -> list[Event]:
        first, letters = f"{after + 1:09d}", "eo" if output else "e"
        found = await self._entries(job_id, [(f"{letter}{first}", letter + "~") for letter in letters], limit)
        return documents.events_of(found)[:limit] if limit > 0 else []

    async def steps(self, job_id: str) -> list[Step]:
        return documents.steps_of(await self._entries(job_id, [("s", "s~")]))

    async def signals(self, job_id: str) -> list[Signal]:
        found = await self._entries(job_id, [("g", "g~"), ("t", "t~")])
        left = {key: text for key, text in found.items() if key[0] == "g"}
        return documents.signals_of(left, {key: text for key, text in found.items() if key[0] == "t"})

    async def reports(self, job_id: str) -> list[Report]:
        return documents.reports_of(await self._entries(job_id, [("r", "r~")], REPORTS, newest=True))

    async def _entries(
        self, job_id: str, ranges: Sequence[tuple[str, str]], limit: int = 0, *, newest: bool = False
    ) -> Entries:
        """The entries whose keys lie in these ranges; at least the first, or the newest, `limit` of each."""
        job = await self._jobs.find_one({"_id": job_id, "status": _THERE}, {"out": 1, "parts": 1, "seq": 1})
        if job is None:
            return {}
        box = job.get("out") or {}
        entries = {key: text for key, text in box.items() if any(first <= key < end for first, end in ranges)}
        if not job.get("parts"):
            return entries
        for first, end in ranges:
            wanted = {"_id": {"$gte": f"{job_id}/{first}", "$lt": f"{job_id}/{end}"}}
            async for part in self._parts.find(wanted).sort("_id", -1 if newest else 1).limit(limit):
                key = part["_id"].rpartition("/")[2]
                # Of what came since the job was read, not all need be there yet.
                if key[0] not in "eo" or int(key[1:]) <= job["seq"]:
                    entries[key] = part["text"]
        return entries

    async def changed(self, seen: Mapping[str, Head]) -> dict[str, Head | None]:
        found = self._jobs.find({"_id": {"$in": list(seen)}, "status": _THERE}, {"seq": 1, "turn": 1})
        heads = {document["_id"]: documents.head_of(document) async for document in found}
        return {id: heads.get(id) for id in seen if heads.get(id) != seen[id]}

    # -- records -----------------------------------------------------------------------------------------------------

    async def fetch(self, key: str) -> Record | None:
        document = await self._records.find_one({"_id": key})
        return None if document is None else self._alive(document)

    async def scan(self, prefix: str) -> list[Record]:
        wanted = {"_id": {"$gte": prefix, "$lt": prefix + LAST_CHARACTER}}
        found = [self._alive(document) async for document in self._records.find(wanted).sort("_id", 1)]
        return [record for record in found if record is not None]

    def _alive(self, document: Document) -> Record | None:
        record = rows.record_of((document["_id"], document["value"], document["version"], document.get("expires_at")))
        return None if record.expires_at is not None and record.expires_at <= self._now() else record


def _matching(query: Query) -> Document:
    """The filter; `before` and `limit` apart."""
    wanted: Document = {"status": _THERE}
    if query.status is not None:
        wanted["status"] = {"$in": sorted(status.value for status in query.status)}
    if query.owner is not ANY:
        wanted["owner"] = query.owner
    for name, value in (("type", query.type), ("tags", query.tag), ("batch_id", query.batch_id)):
        if value is not None:
            wanted[name] = value
    created = {"$gt": query.created_after, "$lt": query.created_before}
    for name, bounds in (("created_at", created), ("updated_at", {"$gt": query.updated_after})):
        if given := {operator: bound for operator, bound in bounds.items() if bound is not None}:
            wanted[name] = given
    return wanted


def _due_at(job: Job[Any]) -> float:
    return documents.due_at(job) or 0.0
