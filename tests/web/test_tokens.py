"""Tokens: what a browser may do without a key, for how long, and how little else."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from math import inf, nan
from typing import Any

import httpx2
import pytest
from starlette.requests import Request

from outlast import Outlast
from outlast.errors import ConfigurationError, InvalidRequest
from outlast.stores.memory import MemoryStore
from outlast.testing import FakeClock
from outlast.web.service import service
from tests.web.ground import SECRET, as_, client, entry, make_app, read_all

USUAL = "jobs:read+jobs:write+jobs:cancel"
NEXT = "the-one-that-follows-and-as-long"
GREET = {"type": "greet", "payload": {"name": "Ada"}}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> Outlast:
    keys = [entry("shop", "shop", f"{USUAL}+owner:any"), entry("writer", "ann", "jobs:write")]
    keys += [entry("reader", "ann", "jobs:read"), entry("ann", "ann", "jobs:read+jobs:write")]
    monkeypatch.setenv("OUTLAST_KEYS", ",".join(keys))
    monkeypatch.setenv("OUTLAST_SECRET", SECRET)
    return make_app(MemoryStore(clock=clock))


@pytest.fixture
async def http(app: Outlast) -> AsyncIterator[httpx2.AsyncClient]:
    """Without a worker: what is submitted stays queued."""
    async with app.lifespan(worker=False), client(service(app)) as http:
        yield http


async def submitted(http: httpx2.AsyncClient, owner: str = "ann") -> Any:
    return (await http.post("/jobs", json=GREET, headers=as_("shop", owner))).json()


async def minted(http: httpx2.AsyncClient, place: str, owner: str = "ann", **body: Any) -> str:
    reply = await http.post(f"/jobs{place}/tokens", json=body, headers=as_("shop", owner))
    assert reply.status_code == 201, reply.text
    token: str = reply.json()["token"]
    return token


def refused(reply: httpx2.Response, status: int, said: str, *tokens: str) -> None:
    code = {401: "unauthenticated", 403: "forbidden_scope"}[status]
    assert (reply.status_code, reply.json()["code"]) == (status, code), reply.text
    assert said in reply.json()["detail"]
    for part in (part for token in tokens for part in token.split(".") if part):
        assert part not in reply.text


# -- share tokens ---------------------------------------------------------------------------------------------------


async def test_a_share_token_reads_its_job_and_is_not_told_whose_it_is(http: httpx2.AsyncClient) -> None:
    job = await submitted(http)
    await http.post(f"/jobs/{job['id']}/cancel", headers=as_("shop", "ann"))
    token = as_(await minted(http, f"/{job['id']}"))
    for path in ("", "?include=payload", "/events", "/output"):
        reply = await http.get(f"/jobs/{job['id']}{path}", headers=token)
        assert reply.status_code == 200
        assert "ann" not in reply.text
        assert "owner" not in reply.text
    assert (await http.get(f"/jobs/{job['id']}/result", headers=token)).json()["code"] == "job_cancelled"


async def test_a_browser_follows_a_job_with_the_token_in_the_address(http: httpx2.AsyncClient) -> None:
    job = await submitted(http)
    token = await minted(http, f"/{job['id']}")
    await http.post(f"/jobs/{job['id']}/cancel", headers=as_("shop", "ann"))
    found = await read_all(http, f"/jobs/{job['id']}/events?token={token}", 0)
    assert [frame.event for frame in found][-1] == "job.cancelled"
    assert all("owner" not in frame.data.get("job", {}) and "by" not in frame.data for frame in found)
    assert (await http.get(f"/jobs/{job['id']}/events?token={token}")).status_code == 200


async def test_in_other_addresses_a_token_is_nothing_and_a_key_is_nothing_anywhere(http: httpx2.AsyncClient) -> None:
    job = await submitted(http)
    token = await minted(http, f"/{job['id']}", scope=["read", "cancel"])
    for method, path in [("GET", ""), ("GET", "/output"), ("POST", "/cancel")]:
        reply = await http.request(method, f"/jobs/{job['id']}{path}?token={token}")
        assert reply.status_code == 401
    for path in (f"/jobs/{job['id']}/events?token=ann", "/jobs?token=ann", "/jobs/events?token=ann"):
        assert (await http.get(path)).status_code == 401


async def test_a_share_token_cancels_if_that_was_asked_for(http: httpx2.AsyncClient) -> None:
    job = await submitted(http)
    reads, cancels = [await minted(http, f"/{job['id']}", scope=scope) for scope in (["read"], ["read", "cancel"])]
    path = f"/jobs/{job['id']}/cancel"
    refused(await http.post(path, headers=as_(reads)), 403, "jobs:cancel", reads)
    assert (await http.post(path, headers=as_(cancels))).json()["status"] == "cancelled"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/jobs"),
        ("POST", "/jobs"),
        ("GET", "/jobs/summary"),
        ("POST", "/jobs/status"),
        ("GET", "/jobs/{other}"),
        ("GET", "/jobs/{other}/events"),
        ("POST", "/jobs/{other}/cancel"),
        ("GET", "/jobs/job_038G676ZMA6TPAJ0WMP67MDPD6FZ8"),
        ("DELETE", "/jobs/{own}"),
        ("POST", "/jobs/{own}/retry"),
        ("POST", "/jobs/{own}/signals/x"),
        ("POST", "/jobs/{own}/tokens"),
        ("POST", "/jobs/tokens"),
        ("POST", "/jobs/bulk"),
        ("GET", "/openapi.json"),
        ("GET", "/metrics"),
    ],
)
async def test_a_share_token_does_nothing_else(http: httpx2.AsyncClient, method: str, path: str) -> None:
    own, other = (await submitted(http))["id"], (await submitted(http))["id"]
    token = await minted(http, f"/{own}", scope=["read", "cancel"])
    asked = path.format(own=own, other=other)
    reply = await http.request(method, asked, headers=as_(token))
    refused(reply, 403, "share token is for one job" if own not in asked else "scope", token)


async def test_a_token_acts_for_nobody_else(http: httpx2.AsyncClient) -> None:
    job = await submitted(http)
    token = await minted(http, f"/{job['id']}")
    assert (await http.get(f"/jobs/{job['id']}", headers=as_(token, "ann"))).status_code == 403


async def test_a_removed_job_is_gone_for_its_token_too(http: httpx2.AsyncClient) -> None:
    job = await submitted(http)
    token = await minted(http, f"/{job['id']}")
    await http.post(f"/jobs/{job['id']}/cancel", headers=as_("shop", "ann"))
    assert (await http.delete(f"/jobs/{job['id']}", headers=as_("shop", "ann"))).status_code == 204
    assert (await http.get(f"/jobs/{job['id']}", headers=as_(token))).status_code == 404


async def test_a_token_is_good_for_15_minutes_or_as_long_as_was_asked(
    http: httpx2.AsyncClient, clock: FakeClock
) -> None:
    job = await submitted(http)
    usual, short = await minted(http, f"/{job['id']}"), await minted(http, f"/{job['id']}", ttlMs=5_000)
    path = f"/jobs/{job['id']}"
    for passes, token, status in [(4, short, 200), (2, short, 401), (890, usual, 200), (5, usual, 401)]:
        clock.advance(passes)
        assert (await http.get(path, headers=as_(token))).status_code == status
    refused(await http.get(path, headers=as_(usual)), 401, "this share token has expired", usual)
    assert (await http.get(path, headers=as_(await minted(http, f"/{job['id']}")))).status_code == 200


async def test_a_stream_ends_with_its_token_and_says_so(http: httpx2.AsyncClient, clock: FakeClock) -> None:
    job = await submitted(http)
    token, feed = await minted(http, f"/{job['id']}", ttlMs=5_000), await minted(http, "", ttlMs=5_000)
    clock.advance(3.9)
    for path in (f"/jobs/{job['id']}/events?token={token}", f"/jobs/events?token={feed}"):
        last = (await read_all(http, path))[-1]
        assert (last.id, last.event, last.data["reason"]) == (None, "stream.end", "token_expired")


# -- forged ---------------------------------------------------------------------------------------------------------


def encoded(value: Any) -> str:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def decoded(part: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(part + "=="))


def signed(header: Any, claims: Any, secret: str = SECRET) -> str:
    """A JWS by RFC 7515, made without our own code."""
    said = f"{encoded(header)}.{encoded(claims)}"
    return f"{said}.{encoded(hmac.new(secret.encode(), said.encode(), hashlib.sha256).digest())}"


Forge = Callable[[Any, Any, str], str]

FORGED: dict[str, Forge] = {
    "alg none": lambda header, claims, sign: f"{encoded(header | {'alg': 'none'})}.{encoded(claims)}.",
    "alg None": lambda header, claims, sign: f"{encoded(header | {'alg': 'None'})}.{encoded(claims)}.{sign}",
    "no signature": lambda header, claims, sign: f"{encoded(header)}.{encoded(claims)}.",
    "no third part": lambda header, claims, sign: f"{encoded(header)}.{encoded(claims)}",
    "another secret": lambda header, claims, sign: signed(header, claims, "x" * 40),
    "the empty secret": lambda header, claims, sign: signed(header, claims, ""),
    "more time": lambda header, claims, sign: f"{encoded(header)}.{encoded(claims | {'exp': 9e9})}.{sign}",
    "more scopes": lambda header, claims, sign: f"{encoded(header)}.{encoded(claims | {'scp': ['cancel']})}.{sign}",
    "another part": lambda header, claims, sign: f"{encoded(header)}.{encoded(claims)}.{sign}.{sign}",
    "claims that are none": lambda header, claims, sign: f"{encoded(header)}.{encoded([])}.{sign}",
    "claims that are deep": lambda header, claims, sign: f"{encoded(header)}.{encoded(b'[' * 9000)}.{sign}",
    "not ASCII": lambda header, claims, sign: f"{encoded(header)}.{encoded(claims)}.\xff\xfe",
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
async def test_a_forged_token_is_refused_by_its_name(http: httpx2.AsyncClient, forge: Forge) -> None:
    job = await submitted(http)
    header, claims, signature = (await minted(http, f"/{job['id']}")).split(".")
    forged = forge(decoded(header), decoded(claims), signature)
    headers = [(b"Authorization", f"Bearer {forged}".encode("latin-1"))]
    reply = await http.get(f"/jobs/{job['id']}", headers=headers)
    refused(reply, 401, "this share token was not signed by this server", forged)
    assert reply.headers["www-authenticate"] == 'Bearer error="invalid_token"'


@pytest.mark.parametrize(
    "exp", [None, True, "9e9", nan, inf, -inf, 10**400, -(10**400), 1e300], ids=lambda exp: repr(exp)[:20]
)
async def test_a_signed_token_that_ends_at_no_time_is_refused_like_any(http: httpx2.AsyncClient, exp: Any) -> None:
    header, claims, _ = (await minted(http, "", scope=["submit"], type="greet")).split(".")
    token = signed(decoded(header), decoded(claims) | {"exp": exp})
    reply = await http.post("/jobs", json=GREET, headers=as_(token))
    refused(reply, 401, "this submit token does not say until when it is good", token)


async def test_no_bit_of_a_token_may_be_another(http: httpx2.AsyncClient) -> None:
    job = await submitted(http)
    token = await minted(http, f"/{job['id']}")
    for place in range(len(token)):
        flipped = token[:place] + chr(ord(token[place]) ^ 1) + token[place + 1 :]
        reply = await http.get(f"/jobs/{job['id']}", headers=as_(flipped))
        assert reply.status_code == 401, place


@pytest.mark.parametrize("header", [b"", b"[]", b"{", b'{"typ": []}', b'{"typ": "JWT"}', b"[" * 100_000, b"\xff"])
async def test_what_does_not_say_that_it_is_a_token_is_taken_for_a_key(http: httpx2.AsyncClient, header: bytes) -> None:
    reply = await http.get("/jobs", headers=as_(f"{encoded(header)}.e30.x"))
    assert "API key" in reply.json()["detail"]


async def test_a_token_is_a_plain_jws(http: httpx2.AsyncClient) -> None:
    job = await submitted(http)
    token = await minted(http, f"/{job['id']}", scope=["read", "cancel"])
    header, claims = (decoded(part) for part in token.split(".")[:2])
    assert header == {"alg": "HS256", "typ": "outlast-share+jwt"}
    assert (claims["aud"], claims["sub"], claims["scp"]) == ("job", job["id"], ["cancel", "read"])
    assert "ann" not in str(claims)
    said, _, signature = token.rpartition(".")
    assert signature == encoded(hmac.new(SECRET.encode(), said.encode(), hashlib.sha256).digest())


async def test_a_secret_is_changed_while_its_tokens_live(
    http: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await submitted(http)
    old = await minted(http, f"/{job['id']}")
    monkeypatch.setenv("OUTLAST_SECRET", f"{NEXT}, {SECRET}")
    new = await minted(http, f"/{job['id']}")
    for secrets, good in [(f"{NEXT},{SECRET}", [old, new]), (NEXT, [new]), ("", [])]:
        monkeypatch.setenv("OUTLAST_SECRET", secrets)
        for token in (old, new):
            status = (await http.get(f"/jobs/{job['id']}", headers=as_(token))).status_code
            assert (status == 200) is (token in good)


# -- submit tokens --------------------------------------------------------------------------------------------------


async def test_a_submit_token_submits_one_job_of_its_owner_and_shows_it(http: httpx2.AsyncClient, app: Outlast) -> None:
    token = await minted(http, "", scope=["submit"], type="greet")
    made = await http.post("/jobs", json=GREET, headers=as_(token))
    assert made.status_code == 202
    job = made.json()
    assert "owner" not in job
    assert (await app.get(job["id"])).owner == "ann"
    shown = await http.get(f"/jobs/{job['id']}", headers=as_(job["token"]["token"]))
    assert shown.json()["id"] == job["id"]
    refused(await http.get(f"/jobs/{job['id']}", headers=as_(token)), 403, "submit token submits", token)
    refused(await http.post("/jobs", json=GREET, headers=as_(token)), 401, "submit token has been used", token)


async def test_two_uses_of_a_submit_token_at_once_make_one_job(http: httpx2.AsyncClient, app: Outlast) -> None:
    token = await minted(http, "", scope=["submit"], type="greet")
    replies = await asyncio.gather(*(http.post("/jobs", json=GREET, headers=as_(token)) for _ in range(20)))
    assert sorted(reply.status_code for reply in replies) == [202] + [401] * 19
    assert sum((await app.count()).values()) == 1


async def test_a_submit_that_is_refused_uses_no_token_up(http: httpx2.AsyncClient) -> None:
    token = await minted(http, "", scope=["submit"], type="greet")
    for body in [{"type": "greet", "payload": {}}, {"type": "greet", "payload": {"name": 1}}, GREET | {"delayMs": -1}]:
        assert (await http.post("/jobs", json=body, headers=as_(token))).status_code == 422
    assert (await http.post("/jobs", json=GREET, headers=as_(token))).status_code == 202


async def test_a_submit_token_is_bound_to_its_type_and_to_one_job(http: httpx2.AsyncClient, app: Outlast) -> None:
    token = await minted(http, "", scope=["submit"], type="greet")
    other = {"type": "ask", "payload": {"question": "?"}}
    refused(await http.post("/jobs", json=other, headers=as_(token)), 403, "submit token is for jobs of another type")
    for method, path in [("POST", "/jobs/batch"), ("GET", "/jobs"), ("POST", "/jobs/tokens"), ("GET", "/jobs/summary")]:
        reply = await http.request(method, path, headers=as_(token))
        refused(reply, 403, "submit token submits", token)
    assert await app.count() == {}


# -- the feed -------------------------------------------------------------------------------------------------------


async def test_a_feed_token_opens_the_feed_alone(http: httpx2.AsyncClient) -> None:
    job = await submitted(http)
    token = await minted(http, "", scope=["read"])
    assert decoded(token.split(".")[1])["sub"] == "ann"
    for path in ("/jobs", "/jobs/summary", f"/jobs/{job['id']}", f"/jobs/{job['id']}/events"):
        refused(await http.get(path, headers=as_(token)), 403, "share token is for the feed", token)
    no_stream = {"Accept": "application/json"}
    for query, headers in [("", as_(token)), (f"?token={token}", {})]:
        reply = await http.get(f"/jobs/events{query}", headers=no_stream | headers)
        assert reply.status_code not in (401, 403)


# -- minting --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "body", "pointer"),
    [
        ("/{id}", {"scope": []}, "/scope"),
        ("/{id}", {"scope": "read"}, "/scope"),
        ("/{id}", {"scope": ["submit"]}, "/scope"),
        ("/{id}", {"scope": [{}]}, "/scope"),
        ("/{id}", {"ttlMs": 0}, "/ttlMs"),
        ("/{id}", {"ttlMs": 86_400_001}, "/ttlMs"),
        ("/{id}", {"ttlMs": True}, "/ttlMs"),
        ("/{id}", {"ttlMs": "5"}, "/ttlMs"),
        ("/{id}", {"ttlMs": None}, "/ttlMs"),
        ("/{id}", {"owner": "ben"}, "/owner"),
        ("", {"scope": ["read", "submit"]}, "/scope"),
        ("", {"scope": ["cancel"]}, "/scope"),
        ("", {"scope": ["submit"]}, "/type"),
        ("", {"scope": ["submit"], "type": "nobody"}, "/type"),
        ("", {"scope": ["read"], "type": "greet"}, "/type"),
    ],
)
async def test_a_token_that_cannot_be_is_refused(http: httpx2.AsyncClient, place: str, body: Any, pointer: str) -> None:
    job = await submitted(http)
    path = f"/jobs{place.format(id=job['id'])}/tokens"
    reply = await http.post(path, json=body, headers=as_("shop", "ann"))
    assert (reply.status_code, reply.json()["errors"][0]["pointer"]) == (422, pointer)


async def test_nobody_gives_away_what_they_have_not(http: httpx2.AsyncClient) -> None:
    job = await submitted(http)
    path = f"/jobs/{job['id']}/tokens"
    for key, body, status in [
        ("reader", {}, 403),
        ("writer", {}, 403),
        ("writer", {"scope": ["cancel"]}, 403),
        ("ann", {"scope": ["read", "cancel"]}, 403),
        ("ann", {"scope": ["read"]}, 201),
    ]:
        assert (await http.post(path, json=body, headers=as_(key))).status_code == status
    assert (await http.post("/jobs/tokens", json={}, headers=as_("writer"))).status_code == 403
    assert (await http.post(path, headers=as_("shop", "ben"))).json()["code"] == "job_not_found"


async def test_without_a_secret_there_are_no_tokens(
    http: httpx2.AsyncClient, app: Outlast, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await submitted(http)
    monkeypatch.delenv("OUTLAST_SECRET")
    for place in ("", f"/{job['id']}"):
        reply = await http.post(f"/jobs{place}/tokens", headers=as_("shop", "ann"))
        assert (reply.status_code, reply.json()["code"]) == (409, "tokens_off")
        assert "OUTLAST_SECRET" in reply.json()["detail"]
    with pytest.raises(ConfigurationError, match="OUTLAST_SECRET is not set"):
        await app.tokens.job(job["id"])


GUESSABLE = [
    "k9-Qz7.pl",
    "ü" * 15,
    "n" * 40,
    "changeme-changeme-changeme-changeme-1",
    "your-256-bit-key-goes-here-9182736455",
]


@pytest.mark.parametrize("guessable", GUESSABLE)
def test_85_a_secret_that_could_be_guessed_is_refused_at_the_start(
    monkeypatch: pytest.MonkeyPatch, guessable: str
) -> None:
    for secret, number in [(guessable, 1), (f"{SECRET},{guessable}", 2)]:
        monkeypatch.setenv("OUTLAST_SECRET", secret)
        with pytest.raises(ConfigurationError, match=f"secret {number}: .*openssl rand") as told:
            make_app().asgi()
        assert guessable not in str(told.value)


async def test_code_mints_tokens_too(http: httpx2.AsyncClient, app: Outlast) -> None:
    job = await app.submit("greet", {"name": "Ada"}, owner="ann")
    token, expires_at = await app.tokens.job(job, scopes=["read", "cancel"], ttl="1h")
    assert 3598 < expires_at - await app.now() <= 3600
    assert (await http.post(f"/jobs/{job.id}/cancel", headers=as_(token))).status_code == 200
    submit = await app.tokens.submit("greet", owner="ben")
    assert (await http.post("/jobs", json=GREET, headers=as_(submit.token))).status_code == 202
    with pytest.raises(InvalidRequest, match="a token is good for"):
        await app.tokens.feed("ann", ttl="2d")


async def test_two_browsers_see_each_their_own_user(http: httpx2.AsyncClient) -> None:
    """One key with `owner:any` submits for two users; their pages hold share tokens."""
    jobs = {owner: await submitted(http, owner) for owner in ("ann", "ben")}
    tokens = {owner: await minted(http, f"/{job['id']}", owner) for owner, job in jobs.items()}
    for owner, token in tokens.items():
        for other, job in jobs.items():
            for path in ("", f"/events?token={token}"):
                headers = {} if path else as_(token)
                reply = await http.get(f"/jobs/{job['id']}{path}", headers=headers)
                assert reply.status_code == (200 if owner == other else 403)


# -- beside other ways in -------------------------------------------------------------------------------------------


async def test_a_hosts_own_jwt_is_left_to_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTLAST_SECRET", SECRET)

    def user(request: Request) -> str | None:
        sent = request.headers.get("authorization", "")
        return "ann" if sent == f"Bearer {own}" else None

    own = signed({"alg": "HS256", "typ": "JWT"}, {"sub": "ann"})
    app = make_app()
    async with app.lifespan(worker=False), client(app.asgi(authenticate=user)) as http:
        job = (await http.post("/", json=GREET, headers=as_(own))).json()
        token, _ = await app.tokens.job(job["id"])
        assert (await http.get(f"/{job['id']}", headers=as_(token))).status_code == 200
        assert (await http.get("/", headers=as_(token))).status_code == 403


async def test_on_an_open_server_a_token_is_no_more_than_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTLAST_SECRET", SECRET)
    app = make_app()
    async with app.lifespan(worker=False), client(service(app)) as http:
        job = (await http.post("/jobs", json=GREET)).json()
        token = (await http.post(f"/jobs/{job['id']}/tokens")).json()["token"]
        assert (await http.get(f"/jobs/{job['id']}", headers=as_(token))).status_code == 200
        assert (await http.get("/jobs", headers=as_(token))).status_code == 403
        assert (await http.get(f"/jobs/{job['id']}", headers=as_(token) | {"Host": "evil.example"})).status_code == 421
