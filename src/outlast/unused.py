"""Attachments that no job names go, a day after they were last asked for.

This is for an hour's turn of whichever process of the store comes first, in a task of its own: no lease waits for it.
What it reads are notes, never bytes. One that dies on the way leaves the rest to the next.
"""

import asyncio

from outlast.attachments import NAMED, YOUNG, Note, notes, removed
from outlast.observe import Observe
from outlast.stores.base import Head, Store

TURN = "attachments-swept"
EVERY = 3600.0
"""Seconds from one turn to the next, for all processes of a store together."""

PAGE = 500
"""Jobs that one call asks for."""

NO_HEAD = Head(-1, -1)
"""No job's, so that whatever is there has another."""


async def run(store: Store, observe: Observe) -> None:
    """Until cancelled."""
    while True:
        try:
            await remove(store, observe)
        except Exception as error:
            # Whatever it is, the next turn finds the same rubbish.
            observe("sweep.failed", error=error)
        await store.clock.wait(asyncio.Event(), store.now() + EVERY)


async def remove(store: Store, observe: Observe) -> None:
    """Remove what is unused, unless some process has done so within the hour."""
    if await store.put(TURN, {}, version=0, ttl=EVERY) is None:
        return
    long_ago = store.now() - YOUNG
    found = await notes(store)
    named = await _named(store, long_ago)
    gone = [note for note in found if _is_unused(note, named, long_ago) and await removed(store, note)]
    if gone:
        observe("attachments.removed", count=len(gone))


def _is_unused(note: Note, named: frozenset[str], long_ago: float) -> bool:
    return note.state != "gone" and note.at < long_ago and note.key not in named


async def _named(store: Store, long_ago: float) -> frozenset[str]:
    """The keys of all notes that a job names, or one that may yet be stored; what the others named is forgotten."""
    records = {record.key.removeprefix(NAMED): record.value for record in await store.scan(NAMED)}
    old = [job for job, value in records.items() if value["at"] < long_ago]
    for start in range(0, len(old), PAGE):
        heads = await store.changed(dict.fromkeys(old[start : start + PAGE], NO_HEAD))
        gone = [job for job, head in heads.items() if head is None]
        if gone:
            await store.drop([NAMED + job for job in gone])
        for job in gone:
            del records[job]
    return frozenset(key for value in records.values() for key in value["notes"])
