"""What a process knows of the jobs it has claimed, so that it need not look before it writes.

Nobody else moves a job while its lease lasts. So what an attempt writes is decided on the row as this process left it,
and goes out in one round trip, behind a statement that fails the transaction if a row is another by now. Then nothing
was written, the rows are forgotten, and the call is made anew as any other: lock, look, write.
"""

from collections.abc import Iterable, Mapping, Sequence

from psycopg import errors

from outlast.job import Change
from outlast.stores.postgres_pool import Do, Transaction
from outlast.stores.postgres_tables import integers, texts
from outlast.stores.postgres_writes import LOCK, Tags, decided
from outlast.stores.rows import Stored
from outlast.stores.sheet import only_appends

MOST = 50_000
"""Rows that are kept. A job whose lease was lost is never written again, so that its row would stay."""

AS_KNOWN = """
    select case when count(*) = %s::bigint then 1
           else ('outlast: ' || count(*) || ' rows are as this process left them, and it will look again')::integer end
      from unnest(%s::bigint[], %s::integer[], %s::text[], %s::integer[]) as known (n, turn, lease, seq)
      join {s}.job on job.n = known.n and job.turn = known.turn and job.lease = known.lease
      left join {s}.live on live.n = job.n
     where greatest(job.seq, live.seq) = known.seq"""
"""An error if a row is another than it is known; its text is what the server's own log shows. It comes behind the locks
and as a statement of its own, so that it sees what they had to wait for."""


class Outdated(Exception):
    """A row is another than it was known, and nothing was written."""


class Known:
    """The rows of one store's claimed jobs, by id."""

    def __init__(self) -> None:
        self._rows: dict[str, Stored] = {}

    def learn(self, rows: Mapping[str, Stored]) -> None:
        if len(self._rows) + len(rows) > MOST:
            self._rows.clear()
        self._rows.update(rows)

    def forget(self, ids: Iterable[str]) -> None:
        for job_id in ids:
            self._rows.pop(job_id, None)

    def take(self, changes: Sequence[Change]) -> dict[str, Stored] | None:
        """The rows that these changes go by, no longer known meanwhile; None if one needs a look first."""
        if not all(map(_is_of_attempt, changes)):
            return None
        # Popped and not looked at, for another thread may be about to take the same.
        ids = {change.id for change in changes}
        rows = {job_id: row for job_id in ids if (row := self._rows.pop(job_id, None)) is not None}
        if all(change.id in rows and change.holds(rows[change.id]) for change in changes):
            return rows
        self.learn(rows)
        return None


def _is_of_attempt(change: Change) -> bool:
    """It is guarded by the lease, and lets go of it if it touches more than what attempts alone write.

    A takeover is guarded by the lease too, but by its time as well, which a renewal may have changed.
    """
    return (
        change.lease is not None
        and change.lease_until is None
        and change.place is None
        and change.signal is None
        and (only_appends(change) or change.set.get("lease", "") is None)
    )


def written(changes: Sequence[Change], rows: Mapping[str, Stored]) -> list[Do] | None:
    """The statements of these changes; the rows are then as they leave them. None if one undoes what another needs."""
    ns, turns, leases, seqs = zip(*((row.n, row.turn, row.lease, row.seq) for row in rows.values()), strict=True)
    as_known = Do(AS_KNOWN, (len(rows), integers(ns), integers(turns), texts(leases), integers(seqs)))
    writes, refused = decided(changes, rows, Tags([]))
    return None if refused else [Do(LOCK, (texts(rows),)), as_known, *writes]


async def write(transaction: Transaction, statements: Sequence[Do]) -> None:
    try:
        await transaction.end(*statements)
    except errors.InvalidTextRepresentation as error:
        raise Outdated from error
