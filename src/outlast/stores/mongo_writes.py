"""What writes the documents. Each job is changed by one update that holds only on the revision it was decided on.

That update is the whole change, so that a writer may die between any two operations: before it nothing has happened,
after it all has. A call of many jobs is many such updates in one round trip; if it is cut, each job is whole, and to
repeat the call is harmless.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from pymongo import DeleteMany, DeleteOne, UpdateOne
from pymongo.errors import BulkWriteError, DuplicateKeyError

from outlast import lifecycle
from outlast.errors import JobNotFound, StoreUnavailable
from outlast.job import ENDED, Change, Job, NewJob, Status
from outlast.stores import mongo_documents as documents
from outlast.stores import rows
from outlast.stores.base import ANY, IDEMPOTENCY, Claimed, Clock, Head, Lease, News, Owner, Record
from outlast.stores.mongo_documents import GONE, Born, Document, Draft
from outlast.stores.mongo_loop import Turnstile
from outlast.stores.mongo_news import Newscast
from outlast.stores.mongo_server import JOBS, PARTS, RECORDS, Database
from outlast.stores.mongo_tags import Tags

TAKEN = 11000
"""The code of a write that a unique index refused."""

_ENDED = sorted(status.value for status in ENDED)


class Writes:
    """The writes of one store; every call runs on the loop of its client. `news` hears what each wrote."""

    def __init__(self, database: Database, clock: Clock, news: Newscast) -> None:
        self._jobs, self._parts, self._records = database[JOBS], database[PARTS], database[RECORDS]
        self._now, self._news, self._tell = clock.now, news, news.tell
        self._turnstile, self._claims = Turnstile(), asyncio.Lock()

    # -- jobs in -----------------------------------------------------------------------------------------------------

    async def insert(self, new: Sequence[NewJob]) -> list[Job[Any]]:
        first: dict[str, NewJob] = {}
        by_id: dict[str, str] = {}
        for one in new:
            first.setdefault(by_id.setdefault(one.job.id, _place_of(one)), one)
        stored = {by_id[one.job.id]: job for one, job in await self._insert(list(first.values()))}
        self._tell(News(frozenset(job.id for job in stored.values()), ready=True))
        return [stored[by_id[one.job.id]] for one in new]

    async def _insert(self, new: Sequence[NewJob]) -> list[tuple[NewJob, Job[Any]]]:
        placed = [(documents.rank_of(one.job), one.job.owner) for one in new if one.place is not None]
        tags = await Tags.read(self._jobs, placed)
        born = {}
        for one in sorted(new, key=_id_of):
            tag = None if one.place is None else tags.give(documents.rank_of(one.job), one.job.owner, one.place)
            born[one.job.id] = one, Born(one, tag)
        refused = await self._bear([child for _, child in born.values()])
        stored = [(one, child.job) for id, (one, child) in born.items() if id not in refused]
        for one, child in (born[id] for id in refused):
            stored.append((one, await self._settle(child)))
        return stored

    async def _bear(self, children: Sequence[Born]) -> Collection[str]:
        """Insert what is new; answers the ids of those whose id or key is taken."""
        self._news.write([child.document["rev"] for child in children])
        rich = [child for child in children if child.parts]
        if rich:
            # Parts under the id of a job that is there already would become its own.
            there = self._jobs.find({"_id": {"$in": [child.job.id for child in rich]}}, {"_id": 1})
            known = {document["_id"] async for document in there}
            for child in rich:
                if child.job.id not in known:
                    await _insert_many(self._parts, child.parts)
        return await _insert_many(self._jobs, [child.document for child in children])

    async def _settle(self, child: Born) -> Job[Any]:
        """Who took the place of this job, or the job itself if the place is free by now."""
        while True:
            holder = await self._holder(child.document)
            if holder is not None:
                return holder
            await _insert_many(self._parts, child.parts)
            with contextlib.suppress(DuplicateKeyError):
                await self._jobs.insert_one(child.document)
                return child.job

    async def _holder(self, document: Document) -> Job[Any] | None:
        """The job itself, from an insert that was repeated, or another that holds its key; None if there is no more."""
        wanted: list[Document] = [{"held": document["held"]}] if "held" in document else []
        for one in [*wanted, {"_id": document["_id"]}]:
            found = await self._jobs.find_one(one, documents.LIGHT)
            if found is None:
                continue
            if found["status"] == GONE:
                await self._remove([found])
            elif found["_id"] != document["_id"] and found["created_at"] <= self._now() - IDEMPOTENCY:
                await self._jobs.update_one({"_id": found["_id"], **one}, {"$unset": {"held": ""}})
            else:
                return documents.job_of(found)
        return None

    # -- moves, wishes, appends --------------------------------------------------------------------------------------

    async def apply(self, changes: Sequence[Change]) -> list[Job[Any] | None]:
        answers: list[Job[Any] | None] = [None] * len(changes)
        left: dict[str, list[int]] = {}
        for place, change in enumerate(changes):
            left.setdefault(change.id, []).append(place)
        async with self._turnstile.alone(list(left)):
            await self._apply(changes, left, answers)
        ready = any(change.place is not None for change in changes)
        self._tell(News(frozenset(change.id for change in changes), ready))
        return answers

    async def _apply(
        self, changes: Sequence[Change], left: Mapping[str, list[int]], answers: list[Job[Any] | None]
    ) -> None:
        while left:
            drafts = await self._drafts(left)
            tags = await self._tags(drafts, [changes[place] for its in left.values() for place in its])
            for id, its in left.items():
                for place in its:
                    answers[place] = _lay(drafts[id], changes[place], tags)
            done = await self._write([draft for draft in drafts.values() if draft.changed])
            left = {id: its for id, its in left.items() if drafts[id].changed and id not in done}

    async def _drafts(self, ids: Collection[str]) -> dict[str, Draft]:
        wanted = {"_id": {"$in": list(ids)}, "status": {"$ne": GONE}}
        found = {document["_id"]: document async for document in self._jobs.find(wanted, documents.LIGHT)}
        for id in ids:
            if id not in found:
                raise JobNotFound(id)
        return {id: Draft(document) for id, document in found.items()}

    async def _tags(self, drafts: Mapping[str, Draft], changes: Iterable[Change]) -> Tags:
        placed = [drafts[change.id].job for change in changes if change.place is not None]
        return await Tags.read(self._jobs, [(documents.rank_of(job), job.owner) for job in placed])

    async def _write(self, drafts: Sequence[Draft]) -> set[str]:
        """Write each draft that still holds; answers the ids of those."""
        if not drafts:
            return set()
        await self._empty_boxes([draft for draft in drafts if draft.is_full])
        self._news.write([draft.revision["rev"] for draft in drafts])
        if len(drafts) == 1:
            written = await self._jobs.update_one(drafts[0].filter(), drafts[0].update())
            return {drafts[0].id} if written.matched_count else set()
        updates = [UpdateOne(draft.filter(), draft.update()) for draft in drafts]
        result = await self._jobs.bulk_write(updates, ordered=False)
        if result.matched_count == len(drafts):
            return {draft.id for draft in drafts}
        return await self._came_through(drafts)

    async def _came_through(self, drafts: Sequence[Draft]) -> set[str]:
        """Which of many updates were made; the server tells only how many."""
        ids = [draft.id for draft in drafts]
        found = {one["_id"]: one async for one in self._jobs.find({"_id": {"$in": ids}}, {"revs": 1})}
        made = {draft.id: draft.came_through(found[draft.id]) for draft in drafts if draft.id in found}
        if None in made.values():
            raise StoreUnavailable("others wrote so much meanwhile that the outcome of this write is unknown")
        return {id for id, came in made.items() if came}

    async def _empty_boxes(self, drafts: Sequence[Draft]) -> None:
        """Copy what lies in full boxes. The entries stay there until the update of the draft, which takes them out."""
        if not drafts:
            return
        ids = [draft.id for draft in drafts]
        boxes = {one["_id"]: one async for one in self._jobs.find({"_id": {"$in": ids}}, {"out": 1, "rev": 1})}
        parts = []
        for draft in drafts:
            box = boxes.get(draft.id)
            if box is not None and box["rev"] == draft.filter()["rev"]:
                parts += draft.empty(box["out"])
        await _insert_many(self._parts, parts)

    # -- claims ------------------------------------------------------------------------------------------------------

    async def claim(
        self, n: int, types: Collection[str], worker: str, ids: Sequence[str] | None, ttl: float
    ) -> Claimed:
        # Of one process, claims at once would read the same head of the line, and all but one in vain.
        async with self._claims:
            jobs = await self._claim(n, types, worker, ids, ttl)
        return Claimed(jobs, await self.next_at())

    async def _claim(
        self, n: int, types: Collection[str], worker: str, ids: Sequence[str] | None, ttl: float
    ) -> list[Job[Any]]:
        jobs: list[Job[Any]] = []
        while n > 0 and types and (drafts := await self._ready(n, types, ids)):
            now = self._now()
            for draft in drafts:
                draft.take(lifecycle.claim(draft.job, secrets.token_hex(16), worker, now + ttl, now))
            done = await self._write(drafts)
            taken = [draft.job for draft in drafts if draft.id in done]
            if taken:
                self._tell(News(frozenset(job.id for job in taken), ready=False))
            jobs += [job for job in taken if job.status is Status.PROCESSING]
            n -= len(taken)
        return jobs

    async def _ready(self, n: int, types: Collection[str], ids: Sequence[str] | None) -> list[Draft]:
        wanted: Document = {"type": {"$in": list(types)}, "tag": {"$gte": 0}}
        if ids is not None:
            wanted["_id"] = {"$in": list(ids)}
        found = self._jobs.find(wanted, documents.SHOWN).sort([("rank", 1), ("tag", 1), ("id", 1)]).limit(n)
        return [Draft(document) async for document in found]

    async def next_at(self) -> float | None:
        """When the clock will next move a live job."""
        soonest = await self._jobs.find({"due_at": {"$gte": 0}}, {"due_at": 1}).sort("due_at", 1).limit(1).to_list()
        return float(soonest[0]["due_at"]) if soonest else None

    async def renew(self, leases: Sequence[Lease], ttl: float) -> list[Head | None]:
        until = self._now() + ttl
        renewed = {"$set": {"lease_until": until, "due_at": until}}
        await self._jobs.bulk_write(
            [UpdateOne({"_id": one.job_id, "lease": one.lease}, renewed) for one in leases], ordered=False
        )
        # A lease never comes back, so who has it now had it then.
        wanted = {"_id": {"$in": [one.job_id for one in leases]}}
        shown = {"lease": 1, "seq": 1, "turn": 1}
        found = self._jobs.find(wanted, shown)
        held = {Lease(one["_id"], one.get("lease", "")): documents.head_of(one) async for one in found if "turn" in one}
        return [held.get(lease) for lease in leases]

    # -- out ---------------------------------------------------------------------------------------------------------

    async def purge(self, ids: Sequence[str], owner: Owner) -> list[str]:
        wanted: Document = {"_id": {"$in": list(dict.fromkeys(ids))}, "status": {"$in": [*_ENDED, GONE]}}
        if owner is not ANY:
            wanted["owner"] = owner
        found = await self._jobs.find(wanted, {"parts": 1}).to_list()
        if found:
            await self._remove(found)
            self._tell(News(frozenset(one["_id"] for one in found), ready=False))
        return [one["_id"] for one in found]

    async def _remove(self, ended: Sequence[Document]) -> None:
        """Remove ended jobs. One with parts is first hidden, for it goes in several steps."""
        ids, apart = [one["_id"] for one in ended], [one["_id"] for one in ended if one.get("parts")]
        if apart:
            # Due at once, so that a sweep finds what is left if this is cut.
            hidden = {"$set": {"status": GONE, "gone_at": 0.0}, "$unset": {"held": ""}}
            await self._jobs.update_many({"_id": {"$in": apart}, "status": {"$in": _ENDED}}, hidden)
            parts = [DeleteMany({"_id": {"$gte": f"{id}/", "$lt": f"{id}0"}}) for id in apart]
            await self._parts.bulk_write(parts, ordered=False)
        gone = [DeleteOne({"_id": id, "status": {"$in": [*_ENDED, GONE]}}) for id in ids]
        await self._jobs.bulk_write(gone, ordered=False)

    # -- records -----------------------------------------------------------------------------------------------------

    async def put(self, key: str, value: Mapping[str, Any], version: int | None, ttl: float | None) -> Record | None:
        while True:
            now = self._now()
            old = await self._records.find_one({"_id": key}, {"version": 1, "expires_at": 1, "rev": 1})
            expired = old is not None and old.get("expires_at") is not None and old["expires_at"] <= now
            current = 0 if old is None or expired else old["version"]
            if version is not None and version != current:
                return None
            record = Record(key, dict(value), current + 1, None if ttl is None else now + ttl)
            if await self._put(record, old):
                return record
            await asyncio.sleep(0)

    async def _put(self, record: Record, old: Document | None) -> bool:
        """True if nobody wrote in between."""
        written: Document = {"value": rows.dumps(dict(record.value)), "version": record.version}
        written |= {"expires_at": record.expires_at, "rev": secrets.token_hex(6)}
        if old is not None:
            result = await self._records.update_one({"_id": record.key, "rev": old["rev"]}, {"$set": written})
            return result.matched_count == 1
        try:
            await self._records.insert_one({"_id": record.key, **written})
        except DuplicateKeyError:
            return False
        return True

    async def drop(self, keys: Collection[str]) -> None:
        if keys:
            await self._records.delete_many({"_id": {"$in": list(keys)}})
        await self._records.delete_many({"expires_at": {"$lte": self._now()}})


def _lay(draft: Draft, change: Change, tags: Tags) -> Job[Any] | None:
    if not change.holds(draft.job):
        return draft.job
    rank = documents.rank_of(draft.job)
    tag = None if change.place is None else tags.give(rank, draft.job.owner, change.place)
    draft.take(change, tag)
    return None


async def _insert_many(collection: Any, new: Sequence[Document]) -> list[str]:
    """Insert what is not there yet; answers the ids of those that a unique index refused."""
    if not new:
        return []
    try:
        await collection.insert_many(new, ordered=False)
    except BulkWriteError as error:
        failed: list[Mapping[str, Any]] = error.details["writeErrors"]
        if error.details.get("writeConcernErrors") or any(one["code"] != TAKEN for one in failed):
            raise
        return [new[one["index"]]["_id"] for one in failed]
    return []


def _place_of(new: NewJob) -> str:
    """What may be there only once: the job's key, else its id."""
    job = new.job
    return job.id if job.idempotency_key is None else documents.held(job.owner, job.idempotency_key)


def _id_of(new: NewJob) -> str:
    return new.job.id
