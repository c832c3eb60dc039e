"""May the server be trusted with jobs? What it keeps and what it may lose, in words; or why it is refused."""

from collections.abc import Mapping

from outlast.errors import StoreError, StoreRefused
from outlast.stores.base import Description
from outlast.stores.redis_link import Link
from outlast.stores.redis_place import Place

SCHEMA = 1
"""The number of the layout of the keys."""
FLOOR = (6, 2)
_SYNCED = "every write is synced to the disk before it is answered"
_BY_THE_SECOND = "every write is in the append-only file, which is synced each second"
_UNSYNCED = "every write is in the append-only file, which the operating system syncs when it likes"


async def describe(link: Link, place: Place) -> Description:
    """What is to be known of the server; StoreRefused if it cannot keep the promises."""
    # A key of ours first, so that of a cluster the node is asked that will have them.
    [schema, text] = await link.ask(("GET", f"{place.prefix}schema"), ("INFO",))
    facts = facts_of(text)
    _check_version(facts, place)
    if facts.get("role") in ("slave", "replica"):
        master = f"{facts.get('master_host')}:{facts.get('master_port')}"
        raise StoreRefused(f"{place.shown} is a read replica of {master}; name that server in the store URL")
    _check_schema(int(schema or 0), place)
    flaws = _flaws(facts)
    if flaws and not place.volatile:
        raise StoreRefused(
            f"{place.shown} would lose jobs: {'; '.join(flaws)}. With allow_volatile=true in the store "
            "URL it is taken as it is"
        )
    durability, warnings = await _durability(link, facts)
    if place.acks:
        # For none, it answers at once; a user without the right to it would find that out behind the first write.
        await link.ask(("WAIT", 0, 0))
        durability += f", and {place.acks} replicas have it"
    engine, version = _engine(facts)
    warnings += [f"allow_volatile=true: {flaw}" for flaw in flaws]
    return Description(place.shown, engine, version, durability, tuple(warnings), SCHEMA)


def facts_of(info: str) -> dict[str, str]:
    """The fields of INFO."""
    return dict(line.split(":", 1) for line in info.splitlines() if ":" in line and not line.startswith("#"))


def _engine(facts: Mapping[str, str]) -> tuple[str, str]:
    if "valkey_version" in facts:
        return "valkey", facts["valkey_version"]
    return "redis", facts.get("redis_version", "?")


def _check_version(facts: Mapping[str, str], place: Place) -> None:
    version = facts.get("redis_version", "")
    numbers = [int(part) for part in version.split(".")[:2] if part.isdigit()]
    if numbers and tuple(numbers) < FLOOR:
        raise StoreRefused(f"{place.shown} is Redis {version}; Outlast needs 6.2 or newer, or Valkey")


def _check_schema(found: int, place: Place) -> None:
    if found > SCHEMA:
        raise StoreRefused(f"{place.shown} has schema {found} and this Outlast knows up to {SCHEMA}; upgrade outlast")


def _flaws(facts: Mapping[str, str]) -> list[str]:
    flaws = []
    if facts.get("aof_enabled") == "0":
        flaws.append(
            "it keeps no append-only file, so its restart may lose every job (CONFIG SET appendonly yes, and "
            "appendonly yes in its configuration)"
        )
    policy = facts.get("maxmemory_policy", "noeviction")
    # The volatile ones evict what has a time to live, and nothing of ours has one. Services have others of their own.
    if policy != "noeviction" and not policy.startswith("volatile-"):
        flaws.append(f"it evicts jobs when its memory is full (maxmemory-policy is {policy}, not noeviction)")
    return flaws


async def _durability(link: Link, facts: Mapping[str, str]) -> tuple[str, list[str]]:
    if facts.get("aof_enabled") == "0":
        return "in memory, and in snapshots now and then", []
    if "aof_enabled" not in facts:
        return "as the service promises it", ["the server does not say whether it keeps an append-only file"]
    sync = await _sync(link)
    if sync == "always":
        return _SYNCED, []
    if sync == "no":
        return _UNSYNCED, ["appendfsync no: a power cut may lose half a minute of what was answered"]
    return _BY_THE_SECOND, [
        "appendfsync everysec: a power cut, or the server's death while its disk is slow, may lose the last seconds"
    ]


async def _sync(link: Link) -> str:
    try:
        [answer] = await link.ask(("CONFIG", "GET", "appendfsync"))
    except StoreError:
        # Users need no right to it, and services often hide it; then it is taken for the server's own default.
        return "everysec"
    return answer[1] if answer else "everysec"
