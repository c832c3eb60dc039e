"""What only whoever operates may see: the numbers of all owners, and the workers."""

import os
from typing import Any

import httpx2

from outlast.principal import Principal
from outlast.web.service import service
from tests.web.ground import client, ended, make_app, submit


async def test_the_numbers_are_those_of_all_types_and_owners(http: httpx2.AsyncClient) -> None:
    await ended(http, (await submit(http, "greet", name="Ada"))["id"])
    await ended(http, (await submit(http, "broken"))["id"])
    shown = (await http.get("/jobs/stats")).json()
    assert shown["byType"]["greet"]["completed"] == 1
    assert shown["byType"]["broken"]["failed"] == 1
    assert shown["byType"]["endless"] == dict.fromkeys(shown["total"], 0)
    assert (shown["total"]["completed"], shown["total"]["failed"], shown["oldestReadyMs"]) == (1, 1, 0)


async def test_a_worker_is_shown_with_its_place_and_what_it_does(http: httpx2.AsyncClient) -> None:
    [worker] = (await http.get("/jobs/workers")).json()["data"]
    assert (worker["pid"], worker["running"]) == (os.getpid(), 0)
    assert "greet" in worker["types"]
    assert worker["startedAt"] <= worker["seenAt"]


async def test_a_fixed_word_is_no_jobs_id(http: httpx2.AsyncClient) -> None:
    for path in ("/jobs/stats", "/jobs/summary", "/jobs/workers"):
        refused = await http.delete(path)
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD, OPTIONS")


async def test_they_are_for_operators_alone() -> None:
    def who(request: Any) -> Principal:
        return Principal("ada")

    app = make_app()
    async with app.lifespan(worker=False), client(service(app, authenticate=who)) as http:
        for path in ("/jobs/stats", "/jobs/workers"):
            refused = await http.get(path)
            assert (refused.status_code, refused.json()["code"]) == (403, "forbidden_scope")
