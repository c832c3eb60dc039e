"""QStash: what is published to it, and which of the calls that come are its own."""

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from math import inf, nan
from time import time
from typing import Any

import httpx2
import jwt
import pytest
import qstash

from outlast import ConfigurationError, Outlast, Status
from outlast.job import Job
from outlast.push import Named, QStash, Unpublished
from outlast.push.base import Unverified
from outlast.push.qstash import keys_of
from outlast.push.signature import require_signed
from outlast.stores.memory import MemoryStore
from outlast.web.service import service
from tests.push.ground import SECRET, make_app
from tests.web.ground import client
from tests.webhooks.ground import Got, Receiver, answers, receiving

SITE = "https://shop.example/api"
CURRENT, NEXT, OTHER = (f"sig_{letter * 28}" for letter in "abc")
BODY = b'{"jobId": "job_1", "turn": 4}'


@dataclass(frozen=True)
class Signed:
    """A call, and what its signature says of it."""

    key: str = CURRENT
    algorithm: str = "HS256"
    issuer: str | None = "Upstash"
    url: str | None = f"{SITE}/push/qstash"
    begins: float | None = 0
    ends: float | None = 300
    signs: bytes = BODY
    body: bytes = BODY
    spoilt: bool = False

    @property
    def token(self) -> str:
        digest = base64.urlsafe_b64encode(hashlib.sha256(self.signs).digest()).decode()
        now = int(time())
        claims = {"iss": self.issuer, "sub": self.url, "jti": "jwt_1", "body": digest}
        claims |= {name: now + at for name, at in (("nbf", self.begins), ("exp", self.ends)) if at is not None}
        told = {name: value for name, value in claims.items() if value is not None}
        token = jwt.encode(told, self.key if self.algorithm != "none" else None, algorithm=self.algorithm)
        return token[:-4] + ("AAAA" if token[-4:] != "AAAA" else "BBBB") if self.spoilt else token


GOOD = Signed()
DOCTORED = {
    "by the current key": GOOD,
    "by the next key": replace(GOOD, key=NEXT),
    "by another key": replace(GOOD, key=OTHER),
    "by no key": replace(GOOD, algorithm="none"),
    "by another algorithm": replace(GOOD, algorithm="HS512", key=CURRENT * 2),
    "a signature with other bits": replace(GOOD, spoilt=True),
    "by somebody else": replace(GOOD, issuer="Downstash"),
    "for another address": replace(GOOD, url="https://shop.example/push/qstash"),
    "for another body": replace(GOOD, body=BODY.replace(b"job_1", b"job_2")),
    "for a body that was written anew": replace(
        GOOD, body=json.dumps(json.loads(BODY), separators=(",", ":")).encode()
    ),
    "that has expired": replace(GOOD, begins=-600, ends=-300),
    "that is not good yet": replace(GOOD, begins=300, ends=600),
    "without an end": replace(GOOD, ends=None),
    "without a beginning": replace(GOOD, begins=None),
    "by nobody": replace(GOOD, issuer=None),
    "for no address": replace(GOOD, url=None),
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("QSTASH_URL", "QSTASH_TOKEN", "CRON_SECRET", "OUTLAST_PUSH"):
        monkeypatch.delenv(name, raising=False)


def made(api: str | None = None, **settings: Any) -> QStash:
    return QStash(SITE, token="of-the-account", keys=[CURRENT, NEXT], api=api, budget=10, **settings)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """In the place of QStash: it takes what is published."""
    async with receiving(answers(200)) as receiver:
        yield receiver


@pytest.fixture
async def app(receiver: Receiver) -> AsyncIterator[Outlast]:
    async with make_app(MemoryStore(), push=made(receiver.url(""))) as app:
        yield app


@pytest.fixture
async def http(app: Outlast) -> AsyncIterator[httpx2.AsyncClient]:
    async with client(service(app, worker=False)) as http:
        yield http


async def called(http: httpx2.AsyncClient, call: Signed, path: str = "/push/qstash") -> httpx2.Response:
    headers = {"Upstash-Signature": call.token, "Content-Type": "application/json"}
    return await http.post(path, content=call.body, headers=headers)


def naming(job: Job[Any], **changed: Any) -> Signed:
    body = json.dumps({"jobId": job.id, "turn": job.turn}).encode()
    return replace(GOOD, signs=body, body=body, **changed)


# -- whose call it is -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("doctored", DOCTORED)
def test_it_takes_and_refuses_the_calls_that_the_official_package_does(doctored: str) -> None:
    call = DOCTORED[doctored]
    url = f"{SITE}/push/qstash"
    try:
        qstash.Receiver(CURRENT, NEXT).verify(signature=call.token, body=call.body.decode(), url=url)
        theirs = True
    except qstash.errors.SignatureError:
        theirs = False
    try:
        require_signed(call.token, [CURRENT, NEXT], url=url, body=call.body, now=time())
        ours = True
    except Unverified:
        ours = False
    assert ours == theirs == doctored.endswith(("current key", "next key"))


@pytest.mark.parametrize("token", ["", ".", "..", "a.b.c", "é.é.é", "\ud800.a.b", f"{'[' * 9999}.a.b", "e30.e30."])
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(Unverified):
        require_signed(token, [CURRENT], url=SITE, body=BODY, now=time())


NO_TIMES = (None, True, "1e12", nan, inf, -inf, 10**400, -(10**400), 1e300)


@pytest.mark.parametrize(
    "spoils",
    [{"body": 7}, *({name: time} for name in ("nbf", "exp") for time in NO_TIMES)],
    ids=lambda spoils: repr(spoils)[:20],
)
def test_claims_that_are_not_what_they_should_be_are_refused(spoils: dict[str, Any]) -> None:
    digest = base64.urlsafe_b64encode(hashlib.sha256(BODY).digest()).decode()
    claims = {"iss": "Upstash", "sub": SITE, "nbf": 0, "exp": 1e12, "body": digest}
    require_signed(signed_text(claims), [CURRENT], url=SITE, body=BODY, now=time())
    with pytest.raises(Unverified):
        require_signed(signed_text(claims | spoils), [CURRENT], url=SITE, body=BODY, now=time())


def signed_text(claims: dict[str, Any]) -> str:
    """By hand, for the package writes no claims that are wrong."""
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in ({"alg": "HS256"}, claims)]
    text = b".".join(parts)
    signature = base64.urlsafe_b64encode(hashlib.new("sha256", b"").digest())
    algorithm = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    signature = base64.urlsafe_b64encode(algorithm.sign(text, CURRENT.encode())).rstrip(b"=")
    return b".".join([text, signature]).decode()


@pytest.mark.parametrize("skew", [-5, 5])
def test_clocks_may_differ_by_five_seconds(skew: int) -> None:
    call = replace(GOOD, begins=4 if skew > 0 else -300, ends=300 if skew > 0 else -4)
    require_signed(call.token, [CURRENT], url=call.url or "", body=BODY, now=time())


def test_bytes_that_are_no_text_are_signed_as_they_are() -> None:
    body = b"\xff\xfe\x00"
    call = replace(GOOD, signs=body, body=body)
    require_signed(call.token, [CURRENT], url=call.url or "", body=body, now=time())


async def test_a_call_that_is_not_verified_does_nothing_and_learns_a_word(
    app: Outlast, http: httpx2.AsyncClient
) -> None:
    job = await app.submit("broken", {})
    for call, why in ((naming(job, key=OTHER), "the signature"), (naming(job, url=SITE), "the address")):
        reply = await called(http, call)
        assert (reply.status_code, reply.json()["detail"]) == (401, f"this call is not verified: {why}")
    assert (await app.get(job)).status is Status.QUEUED


async def test_the_log_says_what_a_refused_call_came_of_and_the_answer_does_not(
    app: Outlast, http: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    job = await app.submit("broken", {})
    replies = [await called(http, naming(job, key=OTHER)), await called(http, naming(job, url="https://other.example"))]
    lines = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert lines[-2].startswith("a call to run was refused, for the signature: no key that is set has signed it")
    assert lines[-1].endswith(
        f"the address: it is signed for 'https://other.example', and {SITE}/push/qstash is what is set"
    )
    assert not any("example" in reply.text for reply in replies)


@pytest.mark.parametrize(("secret", "said"), [(SECRET, "its caller is to send"), (None, "CRON_SECRET is not set here")])
async def test_of_a_clock_that_is_refused_the_log_says_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, secret: str | None, said: str
) -> None:
    if secret is not None:
        monkeypatch.setenv("CRON_SECRET", secret)
    async with make_app(push=made()) as app, client(service(app, worker=False)) as http:
        assert (await http.get("/push/sweep", headers={"Authorization": "Bearer other"})).status_code == 401
    assert f"a call to sweep was refused, for the secret: {said}" in caplog.text
    assert SECRET not in caplog.text


# -- what a call does -----------------------------------------------------------------------------------------------


async def test_a_call_runs_a_slice_and_a_copy_of_it_changes_nothing(app: Outlast, http: httpx2.AsyncClient) -> None:
    job = await app.submit("broken", {})
    replies = [await called(http, naming(job)) for _ in range(3)]
    assert [(reply.status_code, reply.json()["ran"]) for reply in replies] == [(200, True), (200, False), (200, False)]
    failed = await app.get(job)
    assert (failed.status, failed.attempt) == (Status.FAILED, 1), "and that a handler fails is no failure of the call"


@pytest.mark.parametrize("body", [b'{"jobId": "job_absent", "turn": 1}', b'{"jobId": 7}', b"", b"\xff", b"[1]"])
async def test_a_call_for_no_job_is_answered_well(http: httpx2.AsyncClient, body: bytes) -> None:
    reply = await called(http, replace(GOOD, signs=body, body=body))
    assert (reply.status_code, reply.json()) == (200, {"ran": False})


async def test_a_schedule_of_qstash_sweeps_and_so_does_a_cron(
    http: httpx2.AsyncClient, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = replace(GOOD, url=f"{SITE}/push/sweep")
    assert (await called(http, sweep, "/push/sweep")).json() == {"ran": 0}
    assert (await called(http, GOOD, "/push/sweep")).status_code == 401
    monkeypatch.setenv("CRON_SECRET", SECRET)
    bearer = {"Authorization": f"Bearer {SECRET}"}
    async with make_app(push=made()) as app, client(service(app, worker=False)) as http:
        assert (await http.get("/push/sweep", headers=bearer)).json() == {"ran": 0}
        assert (await http.post("/push/qstash", headers=bearer)).status_code == 401


async def test_a_call_that_was_given_up_fails_its_job(
    app: Outlast, http: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    job = await app.submit("broken", {})
    source = json.dumps({"jobId": job.id, "turn": job.turn}).encode()
    told = json.dumps({"status": 500, "retried": 5, "sourceBody": base64.b64encode(source).decode()}).encode()
    callback = replace(GOOD, url=f"{SITE}/push/dead", signs=told, body=told)
    assert (await called(http, callback)).status_code == 401, "it is not for this address"
    assert (await called(http, callback, "/push/dead")).json() == {"failed": True}
    assert (await called(http, callback, "/push/dead")).json() == {"failed": False}
    assert (await app.get(job)).status is Status.FAILED
    gave_up = f"the push service gave up calling for {job.id}; the job has"
    said = [record.message for record in caplog.records if record.message.startswith(gave_up)]
    assert said == [f"{gave_up} failed; retry it once its calls are answered", f"{gave_up} gone on since"]
    for strange in (b"{}", b'{"sourceBody": "%"}', b'{"sourceBody": 7}'):
        caplog.clear()
        call = replace(callback, signs=strange, body=strange)
        assert (await called(http, call, "/push/dead")).json() == {"failed": False}
        assert "a call names no job" in caplog.text


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "qstash", 405), ("POST", "sqs", 404)])
async def test_other_ways_in_there_are_none(http: httpx2.AsyncClient, method: str, path: str, status: int) -> None:
    assert (await http.request(method, f"/push/{path}")).status_code == status


# -- what is published ----------------------------------------------------------------------------------------------


async def test_a_call_is_published_with_all_that_qstash_is_to_know(receiver: Receiver) -> None:
    push, at = made(receiver.url("/eu/")), time() + 90.25
    await push.publish(Named("job_1", 4), None)
    await push.publish(Named("job_1", 5), at)
    await push.publish(Named("job_1", 6), time() + 365 * 86400)
    now, later, far = receiver.got
    assert (now.path, json.loads(now.body)) == (f"/eu/v2/publish/{SITE}/push/qstash", {"jobId": "job_1", "turn": 4})
    told = {name: value for name, value in now.headers.items() if name.startswith(("upstash", "auth", "content-type"))}
    assert told == {
        "authorization": "Bearer of-the-account",
        "content-type": "application/json",
        "upstash-deduplication-id": "job_1:4",
        "upstash-retries": "5",
        "upstash-retry-delay": "min(60000, pow(2, retried) * 2000)",
        "upstash-timeout": "15s",
        "upstash-failure-callback": f"{SITE}/push/dead",
    }
    assert at <= float(later.headers["upstash-not-before"]) < at + 1, "never too early"
    assert float(far.headers["upstash-not-before"]) < time() + 7 * 86400, "as far as every plan goes"


@pytest.mark.parametrize(("status", "taken"), [(200, True), (201, True), (202, True), (400, False), (429, False)])
async def test_what_qstash_does_not_take_is_left_to_the_sweep(receiver: Receiver, status: int, taken: bool) -> None:
    receiver.answer = answers(status)
    async with make_app(push=made(receiver.url(""))) as app:
        await app.submit("count", {"to": 1})
        assert app.observe.counts["push.unpublished"] == (0 if taken else 1)


async def test_why_qstash_did_not_take_a_call_is_said_in_its_own_words() -> None:
    async def refuse(got: Got, writer: asyncio.StreamWriter) -> None:
        body = b'{"error": "the address resolves to a loopback"}'
        writer.write(b"HTTP/1.1 400 X\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()

    async with receiving(refuse) as receiver:
        with pytest.raises(Unpublished, match=r"^QStash answered 400: 'the address resolves to a loopback'$"):
            await made(receiver.url("")).publish(Named("job_1", 0), None)


async def test_where_qstash_does_not_answer_the_submit_does() -> None:
    async with receiving() as gone:
        pass
    push = made(gone.url(""))
    with pytest.raises(Unpublished, match="does not answer"):
        await push.publish(Named("job_1", 0), None)
    async with make_app(push=push) as app:
        assert (await app.submit("count", {"to": 1})).status is Status.QUEUED


# -- how it is set up -----------------------------------------------------------------------------------------------


def test_it_is_set_up_by_a_url_and_what_upstash_puts_into_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QSTASH_TOKEN", "of-the-account")
    monkeypatch.setenv("QSTASH_CURRENT_SIGNING_KEY", CURRENT)
    monkeypatch.setenv("OUTLAST_PUSH", f"qstash:{SITE}/?budget=280s")
    push = Outlast("memory://").push
    assert isinstance(push, QStash) and push.budget == 280
    assert push._address("run") == f"{SITE}/push/qstash"


def test_keys_of_every_region_are_found() -> None:
    environ = {"QSTASH_CURRENT_SIGNING_KEY": "a", "US_EAST_1_QSTASH_NEXT_SIGNING_KEY": "b", "QSTASH_TOKEN": "c"}
    assert sorted(keys_of(environ | {"QSTASH_NEXT_SIGNING_KEY": ""})) == ["a", "b"]


NOWHERE = ["", "shop.example", "ftp://shop.example", "https://", "https://shop.example?a=b", "https://geschäft.example"]


@pytest.mark.parametrize("url", NOWHERE)
def test_a_url_that_leads_nowhere_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="reached from outside"):
        QStash(url, token="t", keys=[CURRENT])


@pytest.mark.parametrize("path", ["/push/qstash", "/push/dead/", "/v1/push/sweep"])
def test_the_whole_address_of_what_it_calls_is_refused_with_what_comes_before(path: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"let its address end before that: {SITE}(/v1)?$"):
        QStash(SITE + path, token="t", keys=[CURRENT])


@pytest.mark.parametrize(
    "api", ["qstash.upstash.io", "https://", "ftp://qstash.upstash.io", "https://qstash.upstash.io/a b"]
)
def test_an_address_of_qstash_that_is_none_is_refused(api: str) -> None:
    with pytest.raises(ConfigurationError, match="QSTASH_URL, or api="):
        made(api)


def test_the_line_end_that_came_with_a_secret_is_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QSTASH_TOKEN", "of-the-account\n")
    assert QStash(SITE, keys=[CURRENT])._token == "of-the-account"
    assert keys_of({"QSTASH_CURRENT_SIGNING_KEY": "a\n", "QSTASH_NEXT_SIGNING_KEY": "\n"}) == ["a"]


@pytest.mark.parametrize("token", ["of-the-account\nX-Else: 1", "of the account", "of-the-account…"])
def test_a_token_that_no_header_can_hold_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        QStash(SITE, token=token, keys=[CURRENT])
    assert "account" not in str(refused.value)


@pytest.mark.parametrize(("token", "keys"), [(None, [CURRENT]), ("t", []), ("t", [""]), ("t", CURRENT), ("t", None)])
def test_without_a_token_or_keys_it_is_refused(
    monkeypatch: pytest.MonkeyPatch, token: str | None, keys: list[str] | None
) -> None:
    for name in ("QSTASH_CURRENT_SIGNING_KEY", "QSTASH_NEXT_SIGNING_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigurationError, match="QStash needs"):
        QStash(SITE, token=token, keys=keys)
