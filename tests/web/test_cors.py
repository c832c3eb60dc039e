"""Pages of other origins: kept out, unless the app names them; then told everything, errors too."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request

from outlast import Outlast
from outlast.errors import ConfigurationError
from outlast.web.service import service
from tests.web.ground import as_, client, entry, make_app

SHOP = "https://shop.example"
GREET = {"type": "greet", "payload": {"name": "Ada"}}


@pytest.fixture
async def shop(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx2.AsyncClient]:
    monkeypatch.setenv("OUTLAST_KEYS", entry("ann", "ann", "jobs:read+jobs:write"))
    app = make_app(cors=[SHOP, "http://localhost:3000"])
    async with app.lifespan(worker=False), client(service(app)) as http:
        yield http


def allowed(reply: httpx2.Response) -> set[str]:
    return {name for name in reply.headers if name.startswith("access-control-allow")}


async def test_every_reply_says_that_the_page_may_see_it(shop: httpx2.AsyncClient) -> None:
    job = (await shop.post("/jobs", json=GREET, headers=as_("ann") | {"Origin": SHOP})).json()
    own = f"/jobs/{job['id']}"
    for method, path, headers, status in [
        ("GET", own, as_("ann"), 200),
        ("GET", own, as_("ann") | {"If-None-Match": "*"}, 304),
        ("HEAD", own, as_("ann"), 200),
        ("GET", own, {}, 401),
        ("POST", f"{own}/cancel", as_("ann"), 403),
        ("GET", "/jobs/x", as_("ann"), 404),
        ("PUT", "/jobs", as_("ann"), 405),
        ("POST", "/jobs", as_("ann"), 415),
        ("GET", "/jobs?limit=0", as_("ann"), 422),
        ("GET", f"{own}/events", as_("ann"), 200),
        ("GET", "/nothing", as_("ann"), 404),
        ("GET", "/healthz", {}, 200),
    ]:
        reply = await shop.request(method, path, headers=headers | {"Origin": SHOP})
        assert reply.status_code == status, path
        assert reply.headers["access-control-allow-origin"] == SHOP
        assert reply.headers["access-control-allow-credentials"] == "true"
        exposed = reply.headers["access-control-expose-headers"].split(", ")
        assert {"ETag", "Location", "Retry-After", "RateLimit", "Link", "Sunset"} <= set(exposed)
        assert "Origin" in reply.headers["vary"]


async def test_a_preflight_needs_no_key_and_is_good_for_ten_minutes(shop: httpx2.AsyncClient) -> None:
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    for path in ("/jobs", "/jobs/x/cancel", "/nothing"):
        reply = await shop.options(path, headers=asks | {"Origin": SHOP})
        assert (reply.status_code, reply.content) == (204, b"")
        assert reply.headers["access-control-max-age"] == "600"
        assert reply.headers["access-control-allow-origin"] == SHOP
        assert {"POST", "DELETE"} <= set(reply.headers["access-control-allow-methods"].split(", "))
        told = reply.headers["access-control-allow-headers"].lower().split(", ")
        assert {"authorization", "content-type", "idempotency-key", "if-none-match", "prefer"} <= set(told)
    assert (await shop.options("/jobs", headers={"Origin": SHOP})).status_code == 401


FOREIGN = [
    "null",
    "*",
    "https://evil.example",
    "http://shop.example",
    "https://shop.example:444",
    f"{SHOP}.evil.example",
]
FOREIGN += ["https://SHOP.example", "https://shop.example/", ""]


@pytest.mark.parametrize("origin", FOREIGN)
async def test_another_origin_is_told_nothing(shop: httpx2.AsyncClient, origin: str) -> None:
    asks = {"Access-Control-Request-Method": "POST", "Origin": origin}
    for reply in [
        await shop.options("/jobs", headers=asks),
        await shop.get("/jobs", headers=as_("ann") | {"Origin": origin}),
    ]:
        assert allowed(reply) == set()
    assert (await shop.options("/jobs", headers=asks)).status_code == 401


async def test_it_is_off_by_default(idle: httpx2.AsyncClient) -> None:
    for method, headers in [("OPTIONS", {"Access-Control-Request-Method": "GET"}), ("GET", {})]:
        reply = await idle.request(method, "/jobs", headers=headers | {"Origin": SHOP})
        assert allowed(reply) == set()


async def test_a_named_page_acts_for_the_user_of_its_cookie_and_no_other_page_does() -> None:
    def user(request: Request) -> str | None:
        return request.cookies.get("user")

    app = make_app(cors=[SHOP])
    host = Starlette(lifespan=app.lifespan)
    app.mount(host, authenticate=user)
    async with app.lifespan(worker=False), client(host, cookies={"user": "ann"}) as http:
        good = await http.post("/jobs", json=GREET, headers={"Origin": SHOP})
        assert (good.status_code, good.json()["owner"]) == (202, "ann")
        evil = await http.post("/jobs", json=GREET, headers={"Origin": "https://evil.example"})
        assert (evil.status_code, evil.json()["code"]) == (403, "origin_refused")


@pytest.mark.parametrize(
    "origin", ["*", "null", "shop.example", "https://shop.example/", "https://Shop.example", "", 7]
)
def test_what_is_no_origin_is_refused_at_the_start(origin: Any) -> None:
    with pytest.raises(ConfigurationError, match="is no origin"):
        Outlast("memory://", cors=[origin]).asgi()
