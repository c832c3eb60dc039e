"""sweep and doctor."""

import asyncio
import re

import apsw
import pytest

from outlast import Context, Outlast
from outlast.stores import sqlite_file
from tests.cli.ground import APP, Place, until

pytestmark = pytest.mark.usefixtures("imports")


async def submit_soon(place: Place) -> None:
    """A job that is due at once, in a store that nobody looks after."""
    async with Outlast(place.env["OUTLAST_STORE"]) as app:

        @app.handler
        async def later(ctx: Context) -> None: ...

        await later.options(delay=0.001).submit()


def test_a_sweep_moves_what_is_due_and_counts_it(place: Place) -> None:
    asyncio.run(submit_soon(place))
    until(lambda: place.inside("sweep").stdout == "1 job moved\n")
    assert place.ok("sweep", APP) == "0 jobs moved"
    assert "1 queued" in place.inside("doctor").stdout


def test_doctor_names_the_oldest_job_that_is_due(place: Place) -> None:
    asyncio.run(submit_soon(place))
    until(lambda: re.search(r"oldest due +job_\w+ \(later, queued\), for 0 s", place.inside("doctor").stdout))


def test_doctor_says_why_jobs_stay_queued(place: Place) -> None:
    with place.serving("--no-worker"):
        place.submit("greet", name="Ada")
    said = "warning       no worker that lives takes jobs of greet, and 1 is queued"
    assert said in place.inside("doctor", APP).stdout
    assert "no worker that lives" not in place.inside("doctor", APP, env={"OUTLAST_PUSH": "cron:"}).stdout
    place.ok("worker", APP, "--burst")
    assert said not in place.inside("doctor", APP).stdout


def test_doctor_tells_all_there_is(place: Place) -> None:
    with place.serving():
        until(lambda: "worker " in place.inside("doctor", APP).stdout)
        place.job(place.submit("greet", name="Ada"), wait=20)
        env = {"OUTLAST_KEY": "secret", "OUTLAST_URL": "http://ada:secret@host", "OUTLAST_SOTRE": "x"}
        done = place.inside("doctor", APP, env=env)
    assert done.exit_code == 0
    for line in (
        "python        3.",
        "apsw          3.",
        "uvicorn       0.",
        "environment   OUTLAST_KEY is set",
        "environment   OUTLAST_URL=http://ada:***@host",
        "did you mean OUTLAST_STORE?",
        "handler       greet, timeout 900 s, 3 retries",
        "cap           payload 1048576",
        "cap           submits none",
        "cors          off",
        f"store         sqlite:///{place.folder}/jobs.db",
        "schema 1",
        "durability    every commit is synced to the disk",
        "types: fail, greet, hold",
        "jobs          1 completed",
    ):
        assert line in done.stdout, done.stdout
    assert "secret" not in done.output


def test_doctor_shows_every_relaxed_setting(place: Place) -> None:
    done = place.inside("doctor", "--store", "sqlite:///fast.db?durability=process")
    assert "fast.db is not there yet" in done.stdout
    (place.folder / "fast.db").touch()
    done = place.inside("doctor", "--store", "sqlite:///fast.db?durability=process")
    assert "warning       durability=process" in done.stdout


def test_doctor_and_a_start_tell_of_the_push_and_of_what_may_not_fit_into_a_call(place: Place) -> None:
    assert "push          none, so jobs need a worker" in place.ok("doctor", APP)
    env = {"OUTLAST_PUSH": "cron:?budget=55s", "CRON_SECRET": "only-the-tests-know-this-one"}
    doctor, worker = place.run("doctor", APP, env=env), place.run("worker", APP, "--burst", env=env)
    push = "sweep, calls of up to 55 s: a clock is to call /push/sweep"
    long = "push: jobs of fail, greet, hold may run longer than a call of 55 s, and name no steps"
    assert f"push          {push}" in doctor.stdout and f"warning       {long}" in doctor.stdout
    assert f"INFO push {push}" in worker.stderr and f"WARNING {long}" in worker.stderr
    assert "only-the-tests" not in doctor.stdout + worker.stderr


def test_doctor_refuses_the_file_that_a_start_on_a_platform_would(place: Place) -> None:
    done = place.inside("doctor", env={"VERCEL": "1"})
    assert (done.exit_code, "Vercel gives each process a disk of its own" in done.stderr) == (2, True)


def test_doctor_makes_no_file(place: Place) -> None:
    assert "is not there yet" in place.inside("doctor").stdout
    assert list(place.folder.iterdir()) == []


def test_a_sweep_without_a_name_takes_the_store_of_this_folder_if_there_is_one(place: Place) -> None:
    nameless = {"OUTLAST_STORE": ""}
    refused = place.inside("sweep", env=nameless)
    assert (refused.exit_code, f"there is no {place.folder}/outlast.db" in refused.stderr) == (2, True)
    assert place.inside("sweep", "--store", "sqlite:///outlast.db").exit_code == 0
    assert place.inside("sweep", env=nameless).stdout == "0 jobs moved\n"
    assert f"sqlite:///{place.folder}/outlast.db" in place.inside("doctor", env=nameless).stdout


def test_doctor_exits_with_2_for_keys_that_a_server_would_refuse(place: Place) -> None:
    done = place.inside("doctor", env={"OUTLAST_KEYS": "nonsense"})
    assert done.exit_code == 2
    assert "OUTLAST_KEYS, entry 1: not of this form" in done.stderr
    assert "outlast key new" in done.stderr
    assert "nonsense" not in done.output


def test_doctor_exits_with_2_for_a_store_that_is_none(place: Place) -> None:
    (place.folder / "jobs.db").write_text("no database at all\n" * 100)
    done = place.inside("doctor")
    assert done.exit_code == 2
    assert "is not a SQLite database" in done.stderr
    assert "python" in done.stdout


def test_a_store_that_does_not_answer_exits_with_3(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    assert place.inside("sweep").exit_code == 0
    monkeypatch.setattr(sqlite_file, "PATIENCE", 0.05)
    other = apsw.Connection(str(place.folder / "jobs.db"))
    other.pragma("locking_mode", "exclusive")
    other.execute("begin exclusive")
    done = place.inside("doctor")
    other.close()
    assert done.exit_code == 3, done.output
    assert "locked" in done.stderr
