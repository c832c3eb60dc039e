"""The start-up check: store, version, durability, and every setting that is less careful than usual."""

import time

import pytest

from outlast import Context, Outlast
from outlast.cli import relaxed
from outlast.policy import NO_LIMIT, Limits
from tests.cli.ground import Place

RELAXED = """
from outlast import Context, Outlast
from outlast.policy import Limits

app = Outlast(lease="5m", limits=Limits(output=None))


@app.handler(timeout=None)
async def patient(ctx: Context) -> None: ...
"""

SAID = [
    "limits.output: there is no limit, where 33554432 is usual",
    "lease is 300 s, not 30 s: the jobs of a worker that is paused or cut off wait longer for another",
    "handler patient has no timeout",
]


def test_an_app_as_it_comes_has_nothing_relaxed() -> None:
    app = Outlast()

    @app.handler
    async def plain(ctx: Context) -> None: ...

    assert list(relaxed.settings(app)) == []


@pytest.mark.parametrize(
    ("app", "said"),
    [
        (Outlast(limits=Limits(payload=NO_LIMIT)), "limits.payload: there is no limit, where 1048576 is usual"),
        (Outlast(limits=Limits(steps=5_000)), "limits.steps: the limit is 5000, where 1000 is usual"),
        (Outlast(lease=5), "lease is 5 s, not 30 s: a worker that stands still"),
        (Outlast(grace=0), "grace is 0 s, not 10 s: a deploy cuts off"),
        (Outlast(webhook_hosts=["b.internal", "A.internal"]), "webhook_hosts: whoever submits may have a.internal, b."),
        (Outlast(grace="1m"), "grace is 60 s, not 10 s: a deploy waits longer"),
    ],
)
def test_each_relaxed_setting_is_told_with_what_is_usual(app: Outlast, said: str) -> None:
    [told] = relaxed.settings(app)
    assert told.startswith(said)


def test_a_stricter_cap_is_not_relaxed() -> None:
    assert list(relaxed.settings(Outlast(limits=Limits(payload=10)))) == []


def test_a_handler_with_a_larger_payload_is_told() -> None:
    app = Outlast()

    @app.handler(max_payload="8 MiB")
    async def large(ctx: Context) -> None: ...

    assert list(relaxed.settings(app)) == ["handler large takes payloads of up to 8388608 bytes, others of 1048576"]


def test_a_clock_in_the_past_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 86400.0 * 365)
    [told] = relaxed.settings(Outlast())
    assert told == "the clock of this machine says 1971-01-01, which is in the past"


def test_serve_worker_and_doctor_tell_store_version_durability_and_what_is_relaxed(place: Place) -> None:
    (place.folder / "loose.py").write_text(RELAXED)
    store = f"sqlite:///{place.folder}/fast.db?durability=process"
    words = ["loose:app", "--store", store]
    with place.start("serve", *words, "--port", "0") as server:
        server.line("INFO OUTLAST_KEYS is not set: whoever is on this machine may submit, read and delete jobs")
        server.line("relaxed: handler patient")
        assert server.stop() == 0
    worker = place.run("worker", *words, "--burst")
    doctor = place.run("doctor", *words)
    assert (worker.returncode, doctor.returncode) == (0, 0)
    for said in SAID:
        assert f"WARNING relaxed: {said}" in server.err
        assert f"WARNING relaxed: {said}" in worker.stderr
        assert f"relaxed       {said}" in doctor.stdout
        assert server.err.count(said) == worker.stderr.count(said) == doctor.stdout.count(said) == 1
    for text in (server.err, worker.stderr):
        assert f"INFO store sqlite:///{place.folder}/fast.db (sqlite 3." in text.splitlines()[0]
        assert "durability: a commit survives the end of the process, not a power cut" in text.splitlines()[0]
        assert text.count("WARNING store: durability=process") == 1
        assert "INFO outlast 0." in text
    assert "relaxed       OUTLAST_KEYS is not set" in doctor.stdout


def test_an_address_that_others_reach_is_told(place: Place) -> None:
    assert list(relaxed.address("127.0.0.1")) == []
    [told] = relaxed.address("0.0.0.0")
    assert "plain HTTP" in told


def test_with_keys_nothing_is_open(place: Place, imports: None) -> None:
    keys = {"OUTLAST_KEYS": f"one:ada:jobs:read:{'0' * 64}"}
    assert "relaxed" not in place.inside("doctor", env=keys).stdout
