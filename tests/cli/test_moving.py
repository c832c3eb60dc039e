"""db copy."""

from pathlib import Path

import pytest

from tests.cli.ground import Place

pytestmark = pytest.mark.usefixtures("imports")


def test_a_store_is_copied_and_a_second_time_nothing_is(place: Place) -> None:
    with place.serving():
        ended = place.job(place.submit("greet", name="Ada"), wait=20)
    old, new = place.env["OUTLAST_STORE"], f"sqlite:///{place.folder}/new.db"
    assert place.ok("db", "copy", old, new).endswith("copied 1, there already 0; jobs in TO: 1")
    assert place.ok("db", "copy", old, new).endswith("copied 0, there already 1; jobs in TO: 1")
    place.env["OUTLAST_STORE"] = new
    with place.serving("--no-worker"):
        assert place.job(ended["id"]) == ended


def test_a_store_with_workers_is_not_copied(place: Place) -> None:
    with place.serving():
        done = place.inside("db", "copy", place.env["OUTLAST_STORE"], f"sqlite:///{place.folder}/new.db")
    assert done.exit_code == 2
    assert "workers live on" in done.stderr
    assert "stop them" in done.stderr


def test_a_file_that_is_not_there_is_not_made(place: Place) -> None:
    done = place.inside("db", "copy", f"sqlite:///{place.folder}/none.db", f"sqlite:///{place.folder}/new.db")
    assert (done.exit_code, f"there is no {place.folder}/none.db" in done.stderr) == (2, True)
    assert [path for path in Path(place.folder).iterdir() if path.suffix == ".db"] == []


@pytest.mark.parametrize("urls", [("sqlite:///old.db", "memory://"), ("memory://", "sqlite:///new.db")])
def test_memory_which_goes_with_the_command_is_refused(place: Place, urls: tuple[str, str]) -> None:
    done = place.inside("db", "copy", *urls)
    assert (done.exit_code, "name a store that lasts" in done.stderr) == (2, True)


def test_a_store_is_not_copied_into_itself(place: Place) -> None:
    url = f"sqlite:///{place.folder}/jobs.db"
    with place.serving("--no-worker"):
        pass
    done = place.inside("db", "copy", url, url)
    assert (done.exit_code, "FROM and TO are one store" in done.stderr) == (2, True)
