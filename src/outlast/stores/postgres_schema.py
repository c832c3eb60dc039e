"""The server and the schema: may jobs be kept there, and are the tables up to date."""

from importlib.resources import files
from typing import NamedTuple

import psycopg

from outlast.errors import StoreRefused
from outlast.stores.postgres_pool import BEGIN, COMMIT, Connection, Do, Names, send
from outlast.stores.postgres_url import Place

SCHEMA = 1
"""The number of the last migration, postgres_0001.sql being the first."""
OLDEST = 14
"""The oldest PostgreSQL whose makers still mend it."""
LOCK = 0x4F55544C
"""`OUTL`: with the schema's name, the lock that lets one process migrate at a time."""

FACTS = Do("""
    select current_setting('server_version'), current_setting('server_version_num')::integer,
           pg_is_in_recovery(), current_setting('transaction_read_only') = 'on',
           pg_encoding_to_char(encoding), current_setting('fsync'), current_setting('full_page_writes'),
           current_setting('synchronous_commit')
      from pg_database where datname = current_database()""")
FOUND = """
    select count(*) > 0, coalesce(bool_or(relname = 'migration'), false), coalesce(bool_or(relname = 'job'), false)
      from pg_namespace left join pg_class on relnamespace = pg_namespace.oid and relname in ('migration', 'job')
     where nspname = %s"""
"""Read from the catalogs: what looks names up by itself remembers, within a transaction, that there was none."""
NUMBER = "select max(number) from {s}.migration"
TABLES = "job live asked result event step signal report held record".split()
OURS = [*TABLES, "whole", "job_number"]
ADDED_TO = "asked event report held".split()
"""Those of the tables whose rows are never updated."""
LACKING = """
    select relname from pg_class join pg_namespace on relnamespace = pg_namespace.oid
     where nspname = %s and relname = any(%s::text[]) and not case relkind
           when 'S' then has_sequence_privilege(pg_class.oid, 'usage, update')
           when 'v' then has_table_privilege(pg_class.oid, 'select')
           else has_table_privilege(pg_class.oid, 'select') and has_table_privilege(pg_class.oid, 'insert')
            and has_table_privilege(pg_class.oid, 'delete')
            and (relname = any(%s::text[]) or has_table_privilege(pg_class.oid, 'update')) end
     order by relname"""
"""Names of what this role may not use. A worker would find that out job by job. One of the sequence's two is enough."""
MIGRATION = "create table {s}.migration (number integer primary key, at timestamptz not null default now())"
NOTED = "insert into {s}.migration (number) values (%s)"


class Facts(NamedTuple):
    """What the server is and how careful it is."""

    version: str
    number: int
    replica: bool
    read_only: bool
    encoding: str
    fsync: str
    full_pages: str
    commit: str

    @property
    def durability(self) -> str:
        if "off" in (self.fsync, self.commit):
            return "a commit survives the end of a process, not a power cut of the server"
        return "every commit is synced to the server's disk"

    @property
    def warnings(self) -> tuple[str, ...]:
        found = []
        if self.fsync == "off":
            found.append("fsync=off: a power cut of the server may destroy the database")
        if self.full_pages == "off":
            found.append("full_page_writes=off: a power cut of the server may damage the database")
        if self.commit == "off":
            found.append("synchronous_commit=off: a crash of the server may lose the last commits")
        return tuple(found)


async def facts_of(connection: Connection, place: Place) -> Facts:
    """Raises StoreRefused if this server cannot keep what a store promises."""
    [[row]] = await send(connection, [FACTS])
    facts = Facts(*row)
    if facts.number < OLDEST * 10_000:
        raise StoreRefused(f"{place.shown} is PostgreSQL {facts.version}; Outlast needs {OLDEST} or newer")
    if facts.encoding != "UTF8":
        raise StoreRefused(f"{place.shown} keeps text as {facts.encoding}; create a database with encoding UTF8")
    if facts.replica:
        raise StoreRefused(f"{place.shown} is a read replica; name the server that it follows")
    if facts.read_only:
        raise StoreRefused(f"{place.shown} is read only (default_transaction_read_only); name one that may be written")
    return facts


async def migrate(connection: Connection, place: Place) -> int:
    """Bring the tables up to date; answers how many migrations that took.

    Raises StoreRefused if they are newer, another program's, or not ours to change.
    """
    found = await _found(connection, place)
    schema = await _schema(connection, place, found)
    if schema == SCHEMA:
        return 0
    try:
        done = await _migrate(connection, place, found, schema)
    except psycopg.errors.InsufficientPrivilege as error:
        raise StoreRefused(
            f"{place.shown}: this role may not create the tables ({error.diag.message_primary}); let one that may run "
            "`outlast db migrate`, or what `outlast db sql` prints, and grant this one the use of them"
        ) from error
    return SCHEMA - schema if done else await migrate(connection, place)


async def _migrate(connection: Connection, place: Place, found: "Found", schema: int) -> bool:
    """False if another process was faster, so that it is to be looked at anew."""
    lock = Do("select pg_advisory_xact_lock(%s, hashtext(%s))", (LOCK, place.schema))
    try:
        await send(connection, [BEGIN, lock])
        if await _found(connection, place) != found or await _schema(connection, place, found) != schema:
            await connection.rollback()
            return False
        statements = _statements(Names(place.schema), found.schema, schema)
        # One by one: a script is more than the driver sends in one go with values, and may take its time.
        for statement in statements:
            await connection.execute(statement.encode())
        await send(connection, [COMMIT])
    except BaseException:
        if not connection.closed:
            await connection.rollback()
        raise
    return True


def script(place: Place) -> str:
    """All that makes the tables, for whoever runs such things by hand."""
    return "\n".join(["begin;", *(f"{one};" for one in _statements(Names(place.schema), False, 0)), "commit;", ""])


def _statements(named: Names, exists: bool, schema: int) -> list[str]:
    bare = named.schema.replace("%%", "%")
    # A printed script meets a schema, or none.
    made = [] if exists else [_schema_if_none(bare)]
    if schema == 0:
        made.append(MIGRATION.replace("{s}", bare))
    made.append(f"set local search_path = {bare}")
    for number in range(schema + 1, SCHEMA + 1):
        made.append(
            files("outlast.stores").joinpath(f"postgres_{number:04}.sql").read_text("utf-8").strip().rstrip(";")
        )
        made.append(NOTED.replace("{s}", bare).replace("%s", str(number)))
    return made


def _schema_if_none(name: str) -> str:
    # `if not exists` would ask for the right to make one though there is one.
    block = f"begin if to_regnamespace({_literal(name)}) is null then create schema {name}; end if; end"
    return f"do {_literal(block)}"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


async def _found(connection: Connection, place: Place) -> "Found":
    [[row]] = await send(connection, [Do(FOUND, (place.schema,))])
    return Found(*row)


class Found(NamedTuple):
    """What is there: the schema, the table that numbers its migrations, a table by the name of one of ours."""

    schema: bool
    migration: bool
    job: bool


async def _schema(connection: Connection, place: Place, found: Found) -> int:
    """The number of the last migration that was made; 0 where there are no tables."""
    if found.job and not found.migration:
        raise StoreRefused(
            f"the schema {place.schema!r} holds another program's tables; Outlast leaves them as they are: name "
            "another by ?schema="
        )
    if not found.migration:
        return 0
    number_of, rights = Do(Names(place.schema)(NUMBER)), Do(LACKING, (place.schema, OURS, ADDED_TO))
    [[[number]], lacking] = await send(connection, [number_of, rights])
    if (number or 0) > SCHEMA:
        raise StoreRefused(f"{place.shown} has schema {number} and this Outlast knows up to {SCHEMA}; upgrade outlast")
    if lacking and number == SCHEMA:
        names = ", ".join(name for [name] in lacking)
        raise StoreRefused(
            f"{place.shown}: this role may not use what is in the schema {place.schema!r} ({names}); let its owner "
            "grant select, insert, update, delete on all tables in it, and usage on all sequences"
        )
    return number or 0
