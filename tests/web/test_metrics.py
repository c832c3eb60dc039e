"""/metrics: what Prometheus reads there, and who may."""

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from outlast import Outlast
from outlast.metrics import FAMILIES
from outlast.web.service import service
from tests.web.ground import client, ended, make_app, read_all, stream, submit, until


async def scraped(http: httpx2.AsyncClient, ends: int = 0) -> dict[str, Metric]:
    """The page, once so many ends are counted: who waits for a job may hear of its end before it is."""
    async with asyncio.timeout(20):
        while True:
            reply = await http.get("/metrics")
            assert reply.status_code == 200
            found = {metric.name: metric for metric in text_string_to_metric_families(reply.text)}
            if not ends or ("outlast_jobs_ended" in found and value(found["outlast_jobs_ended"], "_total") == ends):
                return found


def value(metric: Metric, suffix: str = "", **labels: str) -> float:
    """The sum over all samples with these labels."""
    named = [one for one in metric.samples if one.name == metric.name + suffix]
    return sum(one.value for one in named if labels.items() <= one.labels.items())


async def test_jobs_are_counted_by_type_and_status(http: httpx2.AsyncClient) -> None:
    await ended(http, (await submit(http, "greet", name="Ada"))["id"])
    await ended(http, (await submit(http, "broken"))["id"])
    await until(http, (await submit(http, "ask", question="?"))["id"], lambda job: job["status"] == "waiting")
    found = await scraped(http, ends=2)
    assert value(found["outlast_jobs"], type="greet", status="completed") == 1
    assert value(found["outlast_jobs"], type="ask", status="waiting") == 1
    assert value(found["outlast_jobs"], type="flood") == 0
    assert {one.labels["status"] for one in found["outlast_jobs"].samples if one.labels["type"] == "flood"} == {
        "queued",
        "processing",
        "waiting",
        "retrying",
        "completed",
        "failed",
        "cancelled",
    }
    assert value(found["outlast_jobs_submitted"], "_total") == 3
    assert value(found["outlast_jobs_ended"], "_total", type="greet", status="completed") == 1
    assert value(found["outlast_jobs_ended"], "_total", type="broken", status="failed") == 1
    assert value(found["outlast_attempts_failed"], "_total", type="broken", code="handler_error") == 1
    assert value(found["outlast_run_seconds"], "_count") == value(found["outlast_wait_seconds"], "_count") >= 2


async def test_a_job_cancelled_in_the_queue_is_counted(idle: httpx2.AsyncClient) -> None:
    job = await submit(idle, "greet", name="Ada")
    await idle.post(f"/jobs/{job['id']}/cancel")
    found = await scraped(idle, ends=1)
    assert value(found["outlast_jobs_ended"], "_total", status="cancelled") == 1
    assert "outlast_attempts_failed" not in found


async def test_slots_and_those_in_use_are_told_of_each_worker(http: httpx2.AsyncClient, app: Outlast) -> None:
    found = await scraped(http)
    [worker] = await app.workers()
    assert value(found["outlast_worker_slots"], worker=worker.id) == 10
    assert value(found["outlast_worker_slots_in_use"], worker=worker.id) == 0
    assert value(found["outlast_worker_resident_bytes"], worker=worker.id) > 1 << 20


async def test_what_is_ready_and_what_is_due_is_told_by_its_age(idle: httpx2.AsyncClient) -> None:
    found = await scraped(idle)
    assert value(found["outlast_oldest_ready_seconds"]) == value(found["outlast_oldest_due_seconds"]) == 0
    await submit(idle, "greet", name="Ada")
    assert value((await scraped(idle))["outlast_oldest_ready_seconds"]) > 0


async def test_the_lag_of_events_is_that_of_readers_who_wait(live: httpx2.AsyncClient) -> None:
    job = await submit(live, "ask", question="?")
    await until(live, job["id"], lambda job: job["status"] == "waiting")
    async with stream(live, f"/jobs/{job['id']}/events", 0) as (_, frames):
        async for frame in frames:
            if frame.event == "job.waiting":
                await live.post(f"/jobs/{job['id']}/signals/answer", json="yes")
            if frame.event == "job.completed":
                break
    lag = (await scraped(live))["outlast_event_lag_seconds"]
    told = value(lag, "_count")
    assert 1 <= told <= 5
    assert value(lag, "_sum") < 5
    # To read the past is no lag.
    assert await read_all(live, f"/jobs/{job['id']}/events", 0)
    assert value((await scraped(live))["outlast_event_lag_seconds"], "_count") == told


async def test_the_numbers_of_other_processes_are_there_and_stay_when_they_are_gone(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/jobs.db"
    server, worker = make_app(store), make_app(store)
    async with server.lifespan(worker=False), client(service(server)) as http:
        async with worker.lifespan():
            await ended(http, (await submit(http, "greet", name="Ada"))["id"])
        found = await scraped(http, ends=1)
        assert len({one.labels["process"] for one in found["outlast_leases_lost"].samples}) == 2
        assert value(found["outlast_jobs_ended"], "_total") == 1
        assert value(found["outlast_run_seconds"], "_count", type="greet") == 1
        assert "outlast_worker_slots" not in found


async def test_the_answer_is_prometheus_text_of_a_named_version(idle: httpx2.AsyncClient) -> None:
    reply = await idle.get("/metrics")
    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert reply.headers["cache-control"] == "no-store"
    assert reply.text.endswith("\n")
    assert (await idle.head("/metrics")).status_code == 200


async def test_every_metric_of_the_page_is_known(http: httpx2.AsyncClient) -> None:
    await ended(http, (await submit(http, "broken"))["id"])
    found = await scraped(http, ends=1)
    told = {f"{name}_total" if metric.type == "counter" else name for name, metric in found.items()}
    assert told == FAMILIES.keys() - {"outlast_event_lag_seconds"}


@pytest.mark.parametrize(
    ("scopes", "status"),
    [("metrics:read", 200), ("admin", 200), ("jobs:read+jobs:write+jobs:cancel", 403), (None, 401)],
)
async def test_strangers_and_users_learn_nothing(
    monkeypatch: pytest.MonkeyPatch, scopes: str | None, status: int
) -> None:
    digest = hashlib.sha256(b"secret").hexdigest()
    monkeypatch.setenv("OUTLAST_KEYS", f"one:ada:{scopes or 'admin'}:{digest}")
    app = make_app()
    headers: Any = {} if scopes is None else {"Authorization": "Bearer secret"}
    async with app.lifespan(worker=False), client(service(app)) as http:
        reply = await http.get("/metrics", headers=headers)
        assert reply.status_code == status
        assert ("outlast_jobs" in reply.text) == (status == 200)
        if scopes == "metrics:read":
            assert (await http.get("/jobs", headers=headers)).status_code == 403
