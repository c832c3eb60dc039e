"""The attacks that are tried on the HTTP surface and on who may come in, each by its number in the threat table.

KNOWN says of each where it is tried, here or in another file, or why not here. 36 is a number without an attack.
"""

import ast
import asyncio
import random
import re
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

import outlast
from outlast import Outlast
from outlast.stores.memory import MemoryStore
from outlast.web.service import service
from tests.web.ground import as_, client, entry, is_a_test, make_app, submit, until

USUAL = "jobs:read+jobs:write+jobs:cancel"

HERE, WEB, CLI, HOOKS = "tests/web/test_attacks.py", "tests/web", "tests/cli", "tests/webhooks"

KNOWN: dict[int, list[str] | str] = {
    1: [
        f"{WEB}/test_canary.py::test_what_belongs_to_another_cannot_be_told_from_what_is_not_there",
        f"{WEB}/test_owners.py::test_another_owners_job_is_not_there",
        f"{HERE}::test_1_a_foreign_id_costs_the_store_what_an_unknown_one_does",
    ],
    2: [f"{WEB}/test_owner_any.py::test_in_a_body_the_owner_is_refused"],
    3: [f"{WEB}/test_owners.py::test_a_key_does_what_its_scopes_say"],
    4: [
        f"{WEB}/test_owners.py::test_no_path_gets_by_without_a_key",
        f"{HERE}::test_4_no_name_and_no_mount_gets_by_without_a_key",
    ],
    5: [
        f"{WEB}/test_tokens.py::test_in_other_addresses_a_token_is_nothing_and_a_key_is_nothing_anywhere",
        f"{HERE}::test_5_a_stream_is_not_opened_without_a_key",
        f"{WEB}/test_sockets.py::test_a_wrong_key_closes_with_4401_and_so_does_silence",
        f"{WEB}/test_sockets.py::test_a_token_opens_no_more_on_a_socket_than_elsewhere",
    ],
    6: [f"{CLI}/test_serve.py::test_an_address_that_others_reach_needs_keys"],
    7: [
        f"{WEB}/test_owners.py::test_a_foreign_page_changes_nothing_for_a_user",
        f"{HERE}::test_7_a_foreign_form_changes_nothing_on_an_open_server",
        f"{HERE}::test_7_reading_changes_nothing",
    ],
    8: [f"{WEB}/test_owners.py::test_an_open_server_answers_to_no_foreign_name"],
    9: [f"{WEB}/test_owners.py::test_a_host_says_who_asks", f"{WEB}/test_cors.py::test_another_origin_is_told_nothing"],
    10: [f"{HERE}::test_10_what_is_stored_never_comes_back_as_a_page"],
    11: [
        f"{HOOKS}/test_callback.py::test_a_url_that_leads_elsewhere_than_to_a_public_host_is_refused_in_one_text",
        f"{HOOKS}/test_callback.py::test_what_is_no_public_address_is_not_taken_for_one",
        f"{HOOKS}/test_http.py::test_a_webhook_that_is_wrong_is_refused_with_its_field",
    ],
    12: [
        f"{HOOKS}/test_posting.py::test_a_name_that_turns_to_a_private_address_after_the_submit_is_refused_at_the_try",
        f"{HOOKS}/test_posting.py::test_the_name_is_resolved_once_so_that_it_cannot_turn_between_check_and_connect",
        f"{HOOKS}/test_posting.py::test_a_status_is_told_in_one_word_and_no_redirect_is_followed",
        f"{HOOKS}/test_posting.py::test_a_try_carries_body_and_headers_and_nothing_of_the_environment",
    ],
    13: [
        f"{HOOKS}/test_posting.py::test_of_a_huge_answer_only_its_beginning_is_read",
        f"{HOOKS}/test_posting.py::test_a_hostile_receiver_holds_a_try_no_longer_than_its_patience",
        f"{HOOKS}/test_deliveries.py::test_a_receiver_that_hangs_does_not_hold_up_the_next_owners",
        f"{HOOKS}/test_http.py::test_an_owner_sees_the_deliveries_of_their_own_webhook_and_an_operator_all",
    ],
    14: [
        f"{HOOKS}/test_recipe.py::test_nothing_forged_is_accepted",
        f"{HOOKS}/test_recipe.py::test_nothing_is_accepted_that_is_five_minutes_off",
        f"{HOOKS}/test_recipe.py::test_a_message_is_acted_on_once_however_often_it_comes",
        f"{WEB}/test_tokens.py::test_a_forged_token_is_refused_by_its_name",
        f"{WEB}/test_tokens.py::test_no_bit_of_a_token_may_be_another",
        f"{WEB}/test_tokens.py::test_a_submit_token_submits_one_job_of_its_owner_and_shows_it",
        f"{WEB}/test_tokens.py::test_a_secret_is_changed_while_its_tokens_live",
    ],
    15: [f"{HERE}::test_15_a_type_is_a_word_of_the_registry", f"{HERE}::test_15_no_text_becomes_code"],
    16: [f"{WEB}/test_strict_json.py::test_a_bomb_of_a_megabyte_costs_milliseconds"],
    17: [f"{WEB}/test_bad_input.py::test_a_bad_submit_is_refused_with_its_code"],
    18: "images are never decoded here",
    19: [
        f"{WEB}/test_bad_input.py::test_9_an_endless_body_is_cut_off_at_the_cap",
        f"{WEB}/test_bad_input.py::test_a_body_that_drips_is_not_waited_for",
    ],
    20: [f"{HERE}::test_20_ranges_and_forms_with_files_are_not_read"],
    21: [
        f"{WEB}/test_events.py::test_an_owner_has_so_many_streams_and_no_more",
        f"{WEB}/test_events.py::test_a_reader_that_takes_nothing_is_cut_off",
        f"{WEB}/test_events.py::test_readers_that_leave_leave_nothing_behind",
    ],
    22: [f"{WEB}/test_events.py::test_nothing_that_is_written_can_begin_a_frame"],
    23: [
        f"{HERE}::test_23_nothing_a_client_sends_comes_back_in_a_header_or_the_log",
        f"{CLI}/test_text.py::test_nothing_that_steers_is_left",
    ],
    24: [
        f"{WEB}/test_bad_input.py::test_an_error_of_ours_shows_nothing_of_itself",
        f"{WEB}/test_bad_input.py::test_61_a_key_that_is_missing_or_wrong_is_never_repeated",
        f"{WEB}/test_attempts.py::test_a_key_without_the_scope_admin_is_refused",
    ],
    25: [f"{HERE}::test_25_a_name_is_a_name_and_never_a_pattern_or_an_operator"],
    26: [f"{WEB}/test_bad_input.py::test_a_bad_submit_is_refused_with_its_code"],
    27: [f"{WEB}/test_owners.py::test_a_key_of_one_owner_is_not_the_key_of_another"],
    28: [f"{HERE}::test_28_an_id_cannot_be_guessed"],
    29: [f"{HERE}::test_29_no_reply_comes_to_another_caller"],
    30: "it is no request: workers are tried by torture",
    31: "as 30: the caps of a job are tried with the runs",
    32: "as 30: the fair order is part of the contract of the stores",
    33: [
        f"{WEB}/test_quota.py::test_beyond_the_cap_nothing_is_stored_and_the_time_to_come_again_is_told",
        f"{WEB}/test_quota.py::test_a_retry_is_a_submit_too",
    ],
    34: "a result is data here (10); pages that show one are tried with the examples",
    35: [f"{WEB}/test_cors.py::test_it_is_off_by_default", f"{HERE}::test_35_no_reply_is_kept_by_what_others_share"],
    37: [f"{HERE}::test_37_a_lease_is_told_to_nobody"],
}


def test_every_attack_is_tried_or_says_why_not() -> None:
    assert sorted(KNOWN) == [number for number in range(1, 38) if number != 36]
    named = [reference for known in KNOWN.values() if isinstance(known, list) for reference in known]
    assert [reference for reference in named if not is_a_test(reference)] == []


async def test_1_a_foreign_id_costs_the_store_what_an_unknown_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTLAST_KEYS", ",".join(entry(name, name, USUAL) for name in ("ann", "ben")))
    store = Watched()
    app = make_app(store)
    async with app.lifespan(worker=False), client(service(app)) as http:
        made = await http.post("/jobs", json={"type": "greet", "payload": {"name": "Ada"}}, headers=as_("ann"))
        for method, path in [("GET", ""), ("DELETE", ""), ("GET", "/events"), ("GET", "/output"), ("POST", "/cancel")]:
            called: list[list[str]] = []
            for id in (made.json()["id"], "job_038G676ZMA6TPAJ0WMP67MDPD6FZ8"):
                store.called.clear()
                assert (await http.request(method, f"/jobs/{id}{path}", headers=as_("ben"))).status_code == 404
                called.append(list(store.called))
            assert called[0] == called[1] != []


class Watched(MemoryStore):
    """A store that remembers which of its methods were called for a job that is named."""

    def __init__(self) -> None:
        super().__init__()
        self.called: list[str] = []

    async def get(self, *args: Any, **named: Any) -> Any:
        self.called.append("get")
        return await super().get(*args, **named)

    async def events(self, *args: Any, **named: Any) -> Any:
        self.called.append("events")
        return await super().events(*args, **named)

    async def purge(self, *args: Any, **named: Any) -> Any:
        self.called.append("purge")
        return await super().purge(*args, **named)

    async def apply(self, *args: Any, **named: Any) -> Any:
        self.called.append("apply")
        return await super().apply(*args, **named)


@pytest.mark.parametrize("path", ["/healthz", "/readyz/jobs", "/metrics"])
async def test_4_no_name_and_no_mount_gets_by_without_a_key(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setenv("OUTLAST_KEYS", entry("healthz", "readyz", USUAL))
    app = make_app()
    host = Starlette()
    app.mount(host, path)
    async with app.lifespan(worker=False), client(host) as http:
        body = {"type": "greet", "payload": {"name": "healthz"}, "tags": ["readyz"], "batchId": "healthz"}
        assert (await http.post(path, json=body, headers=as_("healthz"))).status_code == 202
        for asked in (
            "",
            "/",
            "/healthz",
            "/batches/healthz",
            "?health",
            "/health",
            "//",
            "/%2fhealthz",
            "/readyz/events",
        ):
            assert (await http.get(path + asked)).status_code == 401, asked


async def test_5_a_stream_is_not_opened_without_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTLAST_KEYS", entry("ann", "ann", USUAL))
    app = make_app()
    async with app.lifespan(worker=False), client(service(app)) as http:
        job = await app.submit("greet", {"name": "Ada"}, owner="ann")
        for query in ("", "?key=ann", "?token=ann", "?access_token=ann", "?authorization=Bearer%20ann"):
            headers = {"Accept": "text/event-stream", "Origin": "https://evil.example"}
            reply = await http.get(f"/jobs/{job.id}/events{query}", headers=headers)
            assert (reply.status_code, reply.headers["content-type"]) == (401, "application/problem+json")


FORMS = ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain", ""]


@pytest.mark.parametrize("media_type", FORMS)
async def test_7_a_foreign_form_changes_nothing_on_an_open_server(
    idle: httpx2.AsyncClient, app: Outlast, media_type: str
) -> None:
    job = await submit(idle, "greet", name="Ada")
    body = b'{"type": "greet", "payload": {"name": "Eve"}}'
    for origin, status in [("https://evil.example", 403), ("null", 403), (None, 415)]:
        headers = {"Content-Type": media_type} | ({} if origin is None else {"Origin": origin})
        for path in ("/jobs", "/jobs/batch", "/jobs/bulk", f"/jobs/{job['id']}/cancel"):
            assert (await idle.post(path, content=body, headers=headers)).status_code == status
    assert (await idle.delete(f"/jobs/{job['id']}", headers={"Origin": "https://evil.example"})).status_code == 403
    assert [one.status for one in await app.list()] == ["queued"]


async def test_7_reading_changes_nothing(idle: httpx2.AsyncClient, app: Outlast) -> None:
    job = await submit(idle, "greet", name="Ada")
    before = await app.get(job["id"])
    for path in ("", "/events", "/output", "/result", "/cancel", "/retry", "/signals/x", "/tokens"):
        for method in ("GET", "HEAD", "OPTIONS"):
            await idle.request(method, f"/jobs/{job['id']}{path}")
    assert (await app.get(job["id"]), len(await app.list())) == (before, 1)


SCRIPTS = ["<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "javascript:alert(1)", "</pre><svg onload=x>"]


@pytest.mark.parametrize("script", SCRIPTS)
async def test_10_what_is_stored_never_comes_back_as_a_page(http: httpx2.AsyncClient, script: str) -> None:
    body = {"type": "greet", "payload": {"name": script}, "metadata": {script: script}}
    job = (await http.post("/jobs", json=body)).json()
    await until(http, job["id"], lambda job: job["status"] == "completed")
    own = f"/jobs/{job['id']}"
    for path in (own, f"{own}/result", f"{own}/output", f"{own}/events", "/jobs", "/jobs?tag=" + script, f"/{script}"):
        reply = await http.get(path)
        assert "html" not in reply.headers["content-type"]
        assert reply.headers["x-content-type-options"] == "nosniff"
    problem = await http.post("/jobs", json={"type": script})
    assert problem.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("type", ["os.system", "outlast.app:Outlast", "builtins.eval", "__class__", "json", "handlers"])
async def test_15_a_type_is_a_word_of_the_registry(idle: httpx2.AsyncClient, type: str) -> None:
    payload = {"__reduce__": ["os.system", "id"], "py/object": "os.system", "name": "!!python/object:os.system"}
    reply = await idle.post("/jobs", json={"type": type, "payload": payload})
    assert (reply.status_code, reply.json()["code"]) == (422, "unknown_type")


def test_15_no_text_becomes_code() -> None:
    """Nothing is unpickled, evaluated, or imported by a name that came in; MODULE:APP is the operator's own word."""
    forbidden = {"eval", "exec", "compile", "__import__", "pickle", "marshal", "shelve", "dill", "cloudpickle", "yaml"}
    source = Path(outlast.__file__).parent
    for path in source.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            used = [node.func.id] if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else []
            used += [name.name for name in node.names] if isinstance(node, ast.Import) else []
            assert not forbidden & set(used), path
            assert not (isinstance(node, ast.Name) and node.id == "importlib" and path.parent.name == "web"), path


async def test_20_ranges_and_forms_with_files_are_not_read(idle: httpx2.AsyncClient) -> None:
    job = await submit(idle, "greet", name="Ada")
    ranges = {"Range": "bytes=" + ",".join(f"{start}-{start}" for start in range(5_000))}
    whole = await idle.get(f"/jobs/{job['id']}", headers=ranges)
    assert (whole.status_code, whole.json()["id"]) == (200, job["id"])
    reply = await idle.post("/jobs", files={"type": ("x", b"greet")})
    assert (reply.status_code, reply.json()["code"]) == (415, "unsupported_media_type")


STEERING = ["a\r\nSet-Cookie: x=1", "\x1b[31mred", "a\u2028b", "\u202eabc"]


@pytest.mark.parametrize("text", STEERING)
async def test_23_nothing_a_client_sends_comes_back_in_a_header_or_the_log(
    idle: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    caplog.set_level("DEBUG", logger="outlast")
    job = await submit(idle, "greet", name="Ada")
    replies = [
        await idle.post("/jobs", json={"type": text}),
        await idle.post("/jobs", json={"type": "greet", "payload": {"name": text}}),
        await idle.get("/jobs", params={"tag": text, "status": text}),
        await idle.get("/jobs", params={"tag": text, "limit": "1"}),
        await idle.post(f"/jobs/{job['id']}/cancel", json={"reason": text}),
    ]
    for reply in replies:
        assert not set("\r\n\x1b\u2028\u202e") & set("".join([*reply.headers.keys(), *reply.headers.values()]))
        assert "set-cookie" not in reply.headers
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("outlast")]
    assert not any(text in message for message in ours)


NAMES = ['{"$ne":1}', "a:b*", "'; --", "%", "_", "*", "ann%", "an_", "[a-z]nn", ". or 1=1", "ann\\"]


@pytest.mark.parametrize("kept", ["memory://", "sqlite:///{folder}/jobs.db"])
async def test_25_a_name_is_a_name_and_never_a_pattern_or_an_operator(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kept: str
) -> None:
    monkeypatch.setenv("OUTLAST_KEYS", entry("shop", "shop", f"{USUAL}+owner:any"))
    app = make_app(kept.format(folder=tmp_path))
    async with app.lifespan(worker=False), client(service(app)) as http:
        body = {"type": "greet", "payload": {"name": "Ada"}, "tags": ["ann"], "batchId": "ann"}
        made = {
            owner: (await http.post("/jobs", json=body, headers=as_("shop", owner))).json()["id"]
            for owner in ("ann", *NAMES)
        }
        for owner, id in made.items():
            found = (await http.get("/jobs", headers=as_("shop", owner))).json()["data"]
            assert [job["id"] for job in found] == [id]
        for name in NAMES:
            for query in ("tag", "type", "batchId"):
                reply = await http.get("/jobs", params={query: name}, headers=as_("shop", "ann"))
                assert (reply.status_code, reply.json().get("data", [])) in [(200, []), (422, [])]


async def test_28_an_id_cannot_be_guessed(app: Outlast) -> None:
    """Behind its time an id is 96 random bits: of a thousand none comes twice, and every letter in every place."""
    async with app:
        ids = [(await app.submit("greet", {"name": "Ada"})).id for _ in range(1_000)]
    assert {len(id) for id in ids} == {33}
    assert len({id[-19:] for id in ids}) == 1_000
    for place in range(-19, 0):
        assert len({id[place] for id in ids}) == 32


async def test_29_no_reply_comes_to_another_caller(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A thousand requests of two owners at once, half of which are given up in the middle."""
    monkeypatch.setenv("OUTLAST_KEYS", ",".join(entry(name, name, USUAL) for name in ("ann", "ben")))
    app = make_app(f"sqlite:///{tmp_path}/jobs.db")
    chance = random.Random(29)
    async with app.lifespan(worker=False), client(service(app)) as http:
        own = {}
        for owner in ("ann", "ben"):
            body = {"type": "greet", "payload": {"name": f"secret-of-{owner}"}}
            own[owner] = (await http.post("/jobs", json=body, headers=as_(owner))).json()["id"]

        async def ask(owner: str) -> None:
            path = chance.choice(["/jobs", "/jobs/summary", f"/jobs/{own[owner]}?include=payload"])
            reply = await http.get(path, headers=as_(owner))
            other = "ben" if owner == "ann" else "ann"
            assert own[owner] in reply.text
            assert own[other] not in reply.text and f"secret-of-{other}" not in reply.text

        asking = [asyncio.create_task(ask(chance.choice(["ann", "ben"]))) for _ in range(1_000)]
        for number, task in enumerate(asking):
            if chance.random() < 0.5:
                task.cancel()
            if number % 50 == 0:
                await asyncio.sleep(0)
        answers = await asyncio.gather(*asking, return_exceptions=True)
    wrong = [answer for answer in answers if isinstance(answer, Exception)]
    assert (wrong, any(answer is None for answer in answers)) == ([], True)


async def test_35_no_reply_is_kept_by_what_others_share(http: httpx2.AsyncClient) -> None:
    job = await submit(http, "greet", name="Ada")
    await until(http, job["id"], lambda job: job["status"] == "completed")
    own = f"/jobs/{job['id']}"
    paths = [own, f"{own}/events", f"{own}/output", f"{own}/result", "/jobs", "/jobs/summary", "/jobs/x", "/healthz"]
    for path in (*paths, "/openapi.json", "/jobs/batches/x", "/nothing"):
        reply = await http.get(path)
        assert re.search("private|no-store", reply.headers["cache-control"]), path
        assert {"Authorization", "Cookie", "Origin", "Outlast-Owner"} <= set(reply.headers["vary"].split(", "))


async def test_37_a_lease_is_told_to_nobody(
    http: httpx2.AsyncClient, app: Outlast, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", logger="outlast")
    job = await submit(http, "endless")
    await until(http, job["id"], lambda job: job["status"] == "processing")
    lease = (await app.get(job["id"])).lease
    assert lease is not None
    for path in ("", "?include=payload,attempts", "/events"):
        headers = {"Accept": "application/json"}
        assert lease not in (await http.get(f"/jobs/{job['id']}{path}", headers=headers)).text
    assert lease not in caplog.text
