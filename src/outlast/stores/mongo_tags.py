"""The fair order (`Store.apply` states the rule): the tags of one call, from two probes of an index for each owner."""

import asyncio
from collections.abc import Collection
from typing import Any, Literal, Self

Place = tuple[int, str | None]
"""The rank of a job, and its owner."""


class Tags:
    """The least tag of each rank, and the greatest of each owner in it, as they are and as this call makes them."""

    def __init__(self, heads: dict[int, int | None], owns: dict[Place, int | None]) -> None:
        self._heads, self._owns = heads, owns

    @classmethod
    async def read(cls, jobs: Any, places: Collection[Place]) -> Self:
        ranks, places = sorted({rank for rank, _ in places}), list(dict.fromkeys(places))
        probes = [_probe(jobs, {"rank": rank}, 1) for rank in ranks]
        probes += [_probe(jobs, {"rank": rank, "owner": owner}, -1) for rank, owner in places]
        found = await asyncio.gather(*probes)
        heads, owns = found[: len(ranks)], found[len(ranks) :]
        return cls(dict(zip(ranks, heads, strict=True)), dict(zip(places, owns, strict=True)))

    def give(self, rank: int, owner: str | None, place: Literal["back", "front"]) -> int:
        head, own = self._heads[rank], self._owns[rank, owner]
        front = 0 if head is None else head
        tag = front if place == "front" or own is None else max(front, own + 1)
        self._heads[rank] = front
        self._owns[rank, owner] = tag if own is None else max(own, tag)
        return tag


async def _probe(jobs: Any, of: dict[str, Any], direction: int) -> int | None:
    found = await jobs.find({**of, "tag": {"$gte": 0}}, {"tag": 1}).sort("tag", direction).limit(1).to_list()
    return found[0]["tag"] if found else None
