"""The server: its URL, what it must be able to keep, its collections and indexes, its errors in Outlast's words."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from pymongo import AsyncMongoClient, IndexModel, errors, timeout
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.read_concern import ReadConcern

from outlast.errors import ConfigurationError, OutlastError, StoreError, StoreRefused, StoreUnavailable

Database = AsyncDatabase[dict[str, Any]]
Client = AsyncMongoClient[dict[str, Any]]

SCHEMA = 1
CONNECT, OPERATION = 5.0, 10.0
"""Seconds until a server that does not answer is given up."""

DATABASE = "outlast"
JOBS, PARTS, RECORDS, META = "outlast_jobs", "outlast_parts", "outlast_records", "outlast_meta"

_READY = {"tag": {"$gte": 0}}
INDEXES = [
    # What claims read, then the two probes that give a job its tag.
    IndexModel([("type", 1), ("rank", 1), ("tag", 1), ("id", 1)], name="ready", partialFilterExpression=_READY),
    IndexModel([("rank", 1), ("tag", 1)], name="line", partialFilterExpression=_READY),
    IndexModel([("owner", 1), ("rank", 1), ("tag", 1)], name="own", partialFilterExpression=_READY),
    # What the clock, or the death of a worker, moves.
    IndexModel([("due_at", 1)], name="due", partialFilterExpression={"due_at": {"$exists": True}}),
    IndexModel([("gone_at", 1)], name="gone", partialFilterExpression={"gone_at": {"$exists": True}}),
    IndexModel([("worker", 1)], name="worker", partialFilterExpression={"worker": {"$exists": True}}),
    IndexModel([("held", 1)], name="held", unique=True, partialFilterExpression={"held": {"$exists": True}}),
    # Lists.
    IndexModel([("owner", 1), ("status", 1), ("id", 1)], name="owner_status"),
    IndexModel([("owner", 1), ("id", 1)], name="owner_id"),
    IndexModel([("status", 1), ("type", 1), ("id", 1)], name="status_type"),
    IndexModel([("batch_id", 1), ("id", 1)], name="batch", partialFilterExpression={"batch_id": {"$exists": True}}),
]

_WRONG_LOGIN, _NO_RIGHT = {18, 8000}, 13
"""Codes of a server that says no: to this user and password (Atlas has a number of its own), or to what they may do."""


@dataclass(frozen=True, slots=True)
class Address:
    """What a URL says: where, which database, and how careful. `shown` is without user and password."""

    url: str = field(repr=False)
    shown: str
    database: str
    waits_for_majority: bool
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """What the server is."""

    version: str
    is_replicated: bool


# -- the URL -----------------------------------------------------------------------------------------------------------


def address_of(url: str) -> Address:
    """Raises ConfigurationError if the URL cannot be one, or if it asks for writes that nobody confirms."""
    parts = urlsplit(url)
    hosts = parts.netloc.rpartition("@")[2]
    if not hosts:
        raise ConfigurationError("a MongoDB URL names a host: mongodb://host:27017/database")
    if "@" in parts.netloc.rpartition("@")[0] or "@" in parts.path + parts.query + parts.fragment:
        raise ConfigurationError("the password of the MongoDB URL holds one of @ / ? #; write them as %40 %2F %3F %23")
    options = {name.lower(): value for name, value in parse_qsl(parts.query, keep_blank_values=True)}
    database, majority = parts.path.strip("/") or DATABASE, options.get("w", "majority") == "majority"
    return Address(url, f"{parts.scheme}://{hosts}/{database}", database, majority, tuple(_warnings(options)))


def _warnings(options: dict[str, str]) -> Iterator[str]:
    concern = options.get("w", "majority")
    if concern == "0":
        raise ConfigurationError("w=0 lets the server lose writes unseen; leave it out, and w is majority")
    if options.get("readpreference", "primary") != "primary":
        raise ConfigurationError("a secondary may lag behind and show jobs as they were; leave readPreference out")
    if concern == "1":
        yield "w=1: a failover may take back what was committed; leave it out, and w is majority"
    if options.get("journal", options.get("j", "true")).lower() == "false":
        yield "journal=false: a power cut may lose the last 100 ms; leave it out, and writes wait for the journal"


def client_of(address: Address) -> Client:
    """Not connected yet: it connects at its first call."""
    options = {name.lower() for name, _ in parse_qsl(urlsplit(address.url).query, keep_blank_values=True)}
    defaults: dict[str, Any] = {
        "w": "majority",
        "journal": True,
        "timeoutMS": round(OPERATION * 1000),
        "connectTimeoutMS": round(CONNECT * 1000),
        "appname": "outlast",
    }
    if options & {"j", "fsync"}:
        del defaults["journal"]
    ours = {name: value for name, value in defaults.items() if name.lower() not in options}
    try:
        return AsyncMongoClient(address.url, **ours)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"the MongoDB URL cannot be used: {_hidden(str(error), address)}") from None


# -- the server --------------------------------------------------------------------------------------------------------


async def examine(client: Client) -> Found:
    """Raises StoreRefused if this server cannot be written to."""
    # While nothing is known of a server, PyMongo waits for as long as an operation may take.
    with timeout(min(CONNECT, client.options.timeout or CONNECT)):
        hello = await client.admin.command("hello")
    if not hello.get("isWritablePrimary"):
        raise StoreRefused(
            "this MongoDB server is a secondary and takes no writes; name the whole replica set in the URL "
            "(mongodb://host1,host2/?replicaSet=NAME, without directConnection)"
        )
    version = (await client.admin.command("buildInfo")).get("version", "unknown")
    return Found(str(version), "setName" in hello or hello.get("msg") == "isdbgrid")


def database_of(client: Client, address: Address, found: Found) -> Database:
    # What a majority has may be older than what one server confirmed; and a lone one may know no majority.
    reads = "majority" if found.is_replicated and address.waits_for_majority else "local"
    return client.get_database(address.database, read_concern=ReadConcern(reads))


async def prepare(database: Database) -> None:
    """Indexes, and the number of the schema. Raises StoreRefused if the database is newer than this code."""
    meta = database[META]
    await meta.update_one({"_id": "schema"}, {"$setOnInsert": {"version": SCHEMA}}, upsert=True)
    schema = await meta.find_one({"_id": "schema"})
    if schema is not None and schema["version"] > SCHEMA:
        raise StoreRefused(
            f"the database has schema {schema['version']}, and this Outlast knows {SCHEMA}; install a newer Outlast"
        )
    await database[JOBS].create_indexes(INDEXES)


async def server_time(database: Database) -> float:
    hello = await database.client.admin.command("hello")
    return float(hello["localTime"].replace(tzinfo=UTC).timestamp())


# -- errors ------------------------------------------------------------------------------------------------------------


@contextmanager
def our_errors(address: Address) -> Iterator[None]:
    """PyMongo's errors as Outlast's, with PyMongo's as their cause."""
    try:
        yield
    except OutlastError:
        raise
    except (errors.PyMongoError, UnicodeEncodeError, OverflowError) as error:
        raise _ours(error, address) from error


def _ours(error: Exception, address: Address) -> OutlastError:
    where, said = address.shown, _hidden(_short(error), address)
    match error:
        case errors.ConfigurationError() | errors.InvalidURI() | errors.InvalidName():
            return ConfigurationError(f"the MongoDB URL cannot be used: {said}")
        case errors.OperationFailure() if error.code in _WRONG_LOGIN:
            return StoreRefused(
                f"{where}: user or password is wrong, or the user is kept in another database than the URL's: name "
                "that one (?authSource=admin)"
            )
        case errors.OperationFailure() if error.code == _NO_RIGHT:
            return StoreRefused(f"{where}: this user may not do that (readWrite on the database is needed)")
        case UnicodeEncodeError():
            return StoreError(f"text that is no Unicode cannot be stored: {error.reason}")
        case errors.DocumentTooLarge():
            return StoreError(f"MongoDB keeps documents up to 16 MiB, and this job would be longer: {said}")
        case errors.PyMongoError() if _is_unavailable(error):
            return StoreUnavailable(f"{where} does not answer: {said}")
        case _:
            return StoreError(said)


def _is_unavailable(error: errors.PyMongoError) -> bool:
    lost = (errors.ConnectionFailure, errors.ExecutionTimeout, errors.WriteConcernError, errors.WaitQueueTimeoutError)
    if isinstance(error, errors.BulkWriteError) and error.details.get("writeConcernErrors"):
        return True
    return isinstance(error, lost) or error.timeout or error.has_error_label("RetryableWriteError")


def _hidden(text: str, address: Address) -> str:
    secret = urlsplit(address.url).password
    return text.replace(secret, "***") if secret else text


def _short(error: Exception) -> str:
    """Without the description of the whole topology that PyMongo appends."""
    return str(error).partition(", Timeout:")[0].partition(", full error:")[0][:500]
