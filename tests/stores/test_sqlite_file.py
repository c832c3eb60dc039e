"""Which files the SQLite store takes, and what it says of those it does not."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
import pytest

from outlast.errors import ConfigurationError, OutlastError, StoreRefused
from outlast.stores import open_store
from outlast.stores.base import Query
from outlast.stores.sqlite import SqliteStore
from outlast.stores.sqlite_file import APPLICATION, SCHEMA, _network
from tests.stores.sqlite_ground import each_connection, new, opened, read


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


async def refusal(path: Path) -> str:
    """What opening this file says; the file is as it was afterwards."""
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(OutlastError) as refused:
        async with opened(path):
            pass
    assert isinstance(refused.value, ConfigurationError | StoreRefused)
    assert (path.read_bytes() if path.is_file() else None) == before
    return str(refused.value)


# -- the URL --------------------------------------------------------------------------------------------------------


async def test_three_slashes_begin_a_relative_path_and_four_an_absolute_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with open_store("sqlite:///a%20b.db") as store:
        assert store.describe().url == f"sqlite:///{tmp_path}/a b.db"
    async with open_store(f"sqlite:///{tmp_path}/c.db") as store:
        assert store.describe().url == f"sqlite:///{tmp_path}/c.db"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a b.db", "c.db"]


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:///:memory:"])
def test_a_store_in_memory_has_a_url_of_its_own(url: str) -> None:
    with pytest.raises(ConfigurationError, match="memory://"):
        open_store(url)


@pytest.mark.parametrize(
    "url", ["sqlite://jobs.db", "sqlite:jobs.db", "sqlite:///jobs.db?synchronous=off", "sqlite:///j.db?durability=off"]
)
def test_a_url_that_says_something_else_is_refused_with_the_way_out(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"sqlite:///relative|durability=process"):
        open_store(url)


# -- durability -----------------------------------------------------------------------------------------------------

FULL, NORMAL = 2, 1


@pytest.mark.parametrize(("query", "synchronous"), [("", FULL), ("?durability=process", NORMAL)])
async def test_every_connection_syncs_as_the_url_says(path: Path, query: str, synchronous: int) -> None:
    connections: list[apsw.Connection] = []
    with each_connection(connections.append):
        async with SqliteStore(f"sqlite:///{path}{query}") as store:
            await store.insert([new(store)])
            assert [connection.pragma("synchronous") for connection in connections] == [synchronous, synchronous]
            assert connections[0].pragma("journal_mode") == "wal"
            assert bool(store.describe().warnings) is (synchronous is NORMAL)


async def test_the_description_names_engine_version_and_durability(path: Path) -> None:
    async with opened(path) as store:
        told = store.describe()
        assert (told.engine, told.version) == ("sqlite", apsw.sqlite_lib_version())
        assert "synced" in told.durability
        assert told.warnings == ()


async def test_the_lock_files_lie_beside_the_database(path: Path) -> None:
    async with opened(path) as store:
        assert store.locks == path.with_name("jobs.db.locks")
        assert store.locks.is_dir()


# -- the file -------------------------------------------------------------------------------------------------------


async def test_a_new_file_is_marked_as_ours_with_its_schema(path: Path) -> None:
    async with opened(path):
        assert read(path, "pragma application_id") == [(APPLICATION,)]
        assert read(path, "pragma user_version") == [(SCHEMA,)]


async def test_many_may_open_a_new_file_at_once(path: Path) -> None:
    stores = [SqliteStore(f"sqlite:///{path}") for _ in range(8)]
    await asyncio.gather(*(store.open() for store in stores))
    await stores[0].insert([new(stores[0])])
    assert [len(await store.find(Query())) for store in stores] == [1] * 8
    for store in stores:
        await store.close()


async def test_a_newer_schema_is_refused_with_both_numbers(path: Path) -> None:
    async with opened(path):
        pass
    connection = apsw.Connection(str(path))
    connection.pragma("user_version", SCHEMA + 6)
    connection.close()
    said = await refusal(path)
    assert "upgrade outlast" in said
    assert f"schema {SCHEMA + 6}" in said
    assert f"up to {SCHEMA}" in said


async def test_a_file_that_is_no_database_is_left_as_it_is(path: Path) -> None:
    path.write_text("Dear diary, " * 100)
    assert "not a SQLite database" in await refusal(path)


async def test_another_programs_database_is_left_as_it_is(path: Path) -> None:
    connection = apsw.Connection(str(path))
    connection.execute("create table song (title text)")
    connection.close()
    assert "another program's" in await refusal(path)


async def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert "is a folder" in await refusal(tmp_path)


async def test_a_missing_folder_is_named_and_not_made(tmp_path: Path) -> None:
    assert f"{tmp_path}/missing does not exist" in await refusal(tmp_path / "missing" / "jobs.db")
    assert not (tmp_path / "missing").exists()


@contextmanager
def as_nobody(folder: Path) -> Iterator[None]:
    """As a user whom permissions bind; root they do not."""
    if os.geteuid() != 0:
        yield
        return
    modes = {parent: parent.stat().st_mode for parent in folder.parents if parent.stat().st_mode & 0o011 != 0o011}
    for parent, mode in modes.items():
        parent.chmod(mode | 0o011)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        for parent, mode in modes.items():
            parent.chmod(mode)


async def test_a_file_that_may_only_be_read_is_refused(path: Path) -> None:
    async with opened(path):
        pass
    path.chmod(0o444)
    path.parent.chmod(0o555)
    try:
        with as_nobody(path.parent):
            assert "cannot be written" in await refusal(path)
            assert "cannot be" in await refusal(path.with_name("other.db"))
    finally:
        path.parent.chmod(0o700)


MOUNTS = """\
21 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 21 0:40 / /srv/share rw - nfs4 host:/export rw,vers=4.2
31 21 0:41 / /mnt/c rw - 9p drvfs rw,aname=drvfs;path=C:
32 21 0:42 / /sandbox rw - 9p none rw,trans=fd
33 30 0:43 / /srv/share/local rw - ext4 /dev/vdb rw
"""


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("/srv/share/jobs.db", "nfs4"),
        ("/mnt/c/jobs.db", "9p"),
        ("/sandbox/jobs.db", None),
        ("/srv/share/local/jobs.db", None),
        ("/srv/shared/jobs.db", None),
    ],
)
def test_a_file_on_a_network_is_known_by_its_mount(tmp_path: Path, file: str, kind: str | None) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    assert _network(Path(file), mounts) == kind


async def test_a_file_on_a_network_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outlast.stores.sqlite_file._network", lambda path: "nfs4")
    assert "network (nfs4)" in await refusal(path)
