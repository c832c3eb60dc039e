"""`POST /jobs/attachments`: who may, what is taken, and what a submit then names."""

from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any

import httpx2
import pytest

from outlast import Client, Context, InvalidRequest, Outlast
from outlast.policy import Limits
from outlast.web.service import service
from tests.web.ground import SECRET, as_, client, ended, entry, make_app, serving, submit

PATH = "/jobs/attachments"
IMAGE = b"\x89PNG and so on"
PNG = {"Content-Type": "image/png"}
UNKNOWN = "attachment:sha256:" + "0" * 64


def looking(app: Outlast) -> Outlast:
    @app.handler
    async def look(ctx: Context, images: list[str]) -> list[tuple[str, int]]:
        found = [await ctx.attachment(image) for image in images]
        return [(one.media_type, len(one.data)) for one in found]

    return app


@pytest.fixture
def app() -> Outlast:
    return looking(make_app(limits=Limits(attachment=1 << 20, attached=2 << 20)))


async def test_bytes_are_kept_and_named_by_a_payload(http: httpx2.AsyncClient) -> None:
    reply = await http.post(PATH, content=IMAGE, headers=PNG)
    digest = f"sha256:{sha256(IMAGE).hexdigest()}"
    assert reply.status_code == 201
    assert reply.json() == {
        "attachment": f"attachment:{digest}",
        "digest": digest,
        "size": len(IMAGE),
        "mediaType": "image/png",
    }
    again = await http.post(PATH, content=IMAGE, headers=PNG)
    assert (again.status_code, again.json()) == (201, reply.json())
    job = await submit(http, "look", images=[reply.json()["attachment"]])
    assert (await ended(http, job["id"]))["result"] == [["image/png", len(IMAGE)]]


async def test_what_does_not_say_what_it_is_is_bytes(idle: httpx2.AsyncClient) -> None:
    assert (await idle.post(PATH, content=IMAGE)).json()["mediaType"] == "application/octet-stream"


@pytest.mark.parametrize(
    ("status", "code", "content", "headers"),
    [
        (400, "empty_body", b"", PNG),
        (413, "payload_too_large", bytes((1 << 20) + 1), PNG),
        (415, "encoding_off", IMAGE, PNG | {"Content-Encoding": "gzip"}),
        (422, "validation", IMAGE, {"Content-Type": "png"}),
        (422, "validation", IMAGE, {"Content-Type": "image/" + "x" * 123}),
        (422, "validation", IMAGE, {"Content-Type": "multipart/form-data; boundary=x"}),
    ],
)
async def test_what_is_not_taken(
    idle: httpx2.AsyncClient, status: int, code: str, content: bytes, headers: dict[str, str]
) -> None:
    reply = await idle.post(PATH, content=content, headers=headers)
    assert (reply.status_code, reply.json()["code"]) == (status, code)
    if status == 413:
        assert reply.json()["limitBytes"] == 1 << 20
    if status == 422:
        assert [(error["pointer"], error["in"]) for error in reply.json()["errors"]] == [("/Content-Type", "header")]


async def test_an_owner_has_so_much_and_no_more(idle: httpx2.AsyncClient) -> None:
    for byte in (b"1", b"2"):
        assert (await idle.post(PATH, content=byte * (1 << 20))).status_code == 201
    reply = await idle.post(PATH, content=b"3" * (1 << 20))
    assert (reply.status_code, reply.json()["code"]) == (429, "quota_exceeded")
    assert reply.json()["violated-policies"] == ["attached"]


async def test_a_submit_says_which_field_names_what_is_not_there(idle: httpx2.AsyncClient) -> None:
    asked = {"type": "look", "payload": {"images": ["text", UNKNOWN]}}
    reply = await idle.post("/jobs", json=asked)
    assert (reply.status_code, reply.json()["code"]) == (422, "attachment_not_found")
    assert reply.json()["errors"][0]["pointer"] == "/payload/images/1"
    [item] = (await idle.post("/jobs/batch", json={"jobs": [asked]})).json()["jobs"]
    assert item["problem"]["code"] == "attachment_not_found"


async def test_a_batch_may_name_one_attachment_a_hundred_times(http: httpx2.AsyncClient) -> None:
    reference = (await http.post(PATH, content=IMAGE)).json()["attachment"]
    jobs = [{"type": "look", "payload": {"images": [reference]}}] * 100
    answers = (await http.post("/jobs/batch", json={"jobs": jobs})).json()["jobs"]
    assert len([answer["id"] for answer in answers]) == 100


@pytest.fixture
async def keyed(app: Outlast, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx2.AsyncClient]:
    usual = "jobs:read+jobs:write+jobs:cancel"
    keys = [entry("ann", "ann", usual), entry("ben", "ben", usual), entry("reader", "ann", "jobs:read")]
    monkeypatch.setenv("OUTLAST_KEYS", ",".join([*keys, entry("shop", "shop", f"{usual}+owner:any")]))
    monkeypatch.setenv("OUTLAST_SECRET", SECRET)
    async with app.lifespan(worker=False), client(service(app)) as http:
        yield http


async def named_by(http: httpx2.AsyncClient, reference: str, headers: dict[str, str]) -> Any:
    return await http.post("/jobs", json={"type": "look", "payload": {"images": [reference]}}, headers=headers)


async def test_another_owners_attachment_answers_as_one_that_never_was(keyed: httpx2.AsyncClient) -> None:
    reference = (await keyed.post(PATH, content=IMAGE, headers=as_("ann"))).json()["attachment"]
    assert (await named_by(keyed, reference, as_("ann"))).status_code == 202
    assert (await named_by(keyed, reference, as_("shop", "ann"))).status_code == 202
    foreign, absent = await named_by(keyed, reference, as_("ben")), await named_by(keyed, UNKNOWN, as_("ben"))
    told = [{**reply.json(), "requestId": None} for reply in (foreign, absent)]
    assert foreign.status_code == 422
    assert told[0] == told[1]
    assert (await named_by(keyed, reference, as_("shop"))).status_code == 422


async def test_it_takes_the_scope_to_write_and_no_token_will_do(keyed: httpx2.AsyncClient, app: Outlast) -> None:
    submits = (await app.tokens.submit("look", owner="ann")).token
    feed = (await app.tokens.feed("ann")).token
    for key in ("reader", submits, feed):
        reply = await keyed.post(PATH, content=IMAGE, headers=as_(key))
        assert (reply.status_code, reply.json()["code"]) == (403, "forbidden_scope")
    assert (await keyed.post(PATH, content=IMAGE)).status_code == 401


async def test_a_submit_by_token_names_what_its_owner_has(keyed: httpx2.AsyncClient, app: Outlast) -> None:
    token = (await app.tokens.submit("look", owner="ann")).token
    assert (await named_by(keyed, UNKNOWN, as_(token))).status_code == 422, "and the token is not used up"
    reference = (await app.attach(IMAGE, owner="ann")).reference
    assert (await named_by(keyed, reference, as_(token))).status_code == 202


async def test_there_is_nothing_to_read(idle: httpx2.AsyncClient) -> None:
    reply = await idle.get(PATH)
    assert (reply.status_code, reply.headers["allow"]) == (405, "OPTIONS, POST")


async def test_the_client_attaches_and_says_what_is_wrong(app: Outlast) -> None:
    async with serving(service(app), app) as url, Client(f"{url}/jobs") as remote:
        attached = await remote.attach(IMAGE, media_type="image/png")
        assert attached == await app.attach(IMAGE, media_type="image/png")
        job = await remote.submit("look", {"images": [attached.reference]}, wait=10)
        assert job.result == [["image/png", len(IMAGE)]]
        with pytest.raises(InvalidRequest, match="no such attachment"):
            await remote.submit("look", {"images": [UNKNOWN]})
        with pytest.raises(InvalidRequest, match="greater than 1048576 bytes"):
            await remote.attach(bytes((1 << 20) + 1))
