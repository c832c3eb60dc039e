"""One try against receivers of every kind: it always ends, connects where it was judged to, and tells one word."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from time import monotonic

import pytest
import trustme

from outlast import posting
from outlast.posting import Answer, Outcome, Poster
from tests.webhooks.ground import HOST, Got, Receiver, answers, receiving
from tests.webhooks.ground import Answer as Misbehaves


@asynccontextmanager
async def posting_to(
    *addresses: str, hosts: frozenset[str] = frozenset({HOST}), tls: ssl.SSLContext | None = None
) -> AsyncIterator[Poster]:
    """A poster for which every name has these addresses."""

    async def resolve(host: str, port: int) -> list[str]:
        return list(addresses or (host,))

    poster = Poster(hosts, resolve, tls)
    yield poster
    await poster.close()


async def outcome(poster: Poster, url: str, *, trusted: bool = False) -> Answer:
    return await poster.post(url, b'{"a":1}', {"webhook-id": "evt_1"}, trusted=trusted)


async def test_a_try_carries_body_and_headers_and_nothing_of_the_environment(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with posting_to() as poster:
        assert await outcome(poster, receiver.url("/in?a=%20b")) == Answer("delivered")
    [got] = receiver.got
    assert (got.path, got.body) == ("/in?a=%20b", b'{"a":1}')
    assert got.headers["host"] == f"{HOST}:{receiver.port}"
    assert got.headers["webhook-id"] == "evt_1"
    assert got.headers["content-type"] == "application/json"
    assert set(got.headers) == {"host", "content-type", "content-length", "user-agent", "webhook-id"}


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (200, "delivered"),
        (299, "delivered"),
        (301, "redirected"),
        (304, "redirected"),
        (400, "rejected"),
        (410, "gone"),
        (500, "rejected"),
        (503, "rejected"),
    ],
)
async def test_a_status_is_told_in_one_word_and_no_redirect_is_followed(
    receiver: Receiver, status: int, expected: Outcome
) -> None:
    receiver.answer = answers(status, Location="/elsewhere")
    async with posting_to() as poster:
        assert await outcome(poster, receiver.url()) == Answer(expected)
    assert len(receiver.got) == 1


async def test_a_cookie_is_not_sent_back(receiver: Receiver) -> None:
    receiver.answer = answers(200, Set_Cookie="session=1; Path=/")
    async with posting_to() as poster:
        for _ in range(2):
            await outcome(poster, receiver.url())
    assert "cookie" not in receiver.got[1].headers


@pytest.mark.parametrize(
    ("status", "header", "seconds"),
    [
        (429, "120", 120),
        (503, "3600", 3600),
        (503, "Thu, 26 Nov 2020 00:00:00 GMT", 0),
        (503, "soon", None),
        (503, "-5", None),
        (500, "120", None),
        (429, "9" * 400, 999_999_999),
    ],
)
async def test_how_long_the_receiver_wants_us_to_wait_is_read(
    receiver: Receiver, status: int, header: str, seconds: float | None
) -> None:
    receiver.answer = answers(status, Retry_After=header)
    async with posting_to() as poster:
        answer = await outcome(poster, receiver.url())
    assert answer.outcome == "rejected"
    assert answer.retry_after == seconds


async def test_a_receiver_may_name_the_time_until_which_it_wants_us_to_wait(receiver: Receiver) -> None:
    until = datetime.now(UTC) + timedelta(seconds=600)
    receiver.answer = answers(503, Retry_After=format_datetime(until, usegmt=True))
    async with posting_to() as poster:
        answer = await outcome(poster, receiver.url())
    assert answer.retry_after == pytest.approx(600, abs=60)


# -- receivers that mean ill ----------------------------------------------------------------------------------------


async def hangs(got: Got, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def drips_head(got: Got, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X: 1\r\n")
        await writer.drain()
        await asyncio.sleep(0.01)


async def drips_body(got: Got, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"1\r\nx\r\n")
        await writer.drain()
        await asyncio.sleep(0.01)


async def nonsense(got: Got, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x16\x03\x01 hello \0\0\r\n\r\n")


async def half_an_answer(got: Got, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")


async def early_hints_without_end(got: Got, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (hangs, "timeout"),
        (drips_head, "timeout"),
        (drips_body, "delivered"),
        (nonsense, "no_connection"),
        (half_an_answer, "delivered"),
        (early_hints_without_end, "timeout"),
    ],
)
async def test_a_hostile_receiver_holds_a_try_no_longer_than_its_patience(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, answer: Misbehaves, expected: Outcome
) -> None:
    monkeypatch.setattr(posting, "PATIENCE", 0.3)
    receiver.answer = answer
    begun = monotonic()
    async with posting_to() as poster:
        assert (await outcome(poster, receiver.url())).outcome == expected
    assert monotonic() - begun < 5


async def test_of_a_huge_answer_only_its_beginning_is_read(receiver: Receiver) -> None:
    async def huge(got: Got, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while True:
            writer.write(b"x" * 4096)
            await writer.drain()
            receiver.sent += 4096

    receiver.answer = huge
    async with posting_to() as poster:
        assert await outcome(poster, receiver.url()) == Answer("delivered")
    # What lies in the buffers of both sockets comes on top of what is read.
    assert receiver.sent < 16 << 20


async def test_a_port_that_nobody_listens_at_is_no_connection() -> None:
    with socket.socket() as closed:
        closed.bind((HOST, 0))
        async with posting_to() as poster:
            assert await outcome(poster, f"http://{HOST}:{closed.getsockname()[1]}/") == Answer("no_connection")


async def test_the_next_address_is_tried_where_one_takes_no_connection(receiver: Receiver) -> None:
    async with posting_to("127.0.0.2", HOST, hosts=frozenset({"hooks.internal"})) as poster:
        url = receiver.url().replace(HOST, "hooks.internal")
        assert await outcome(poster, url) == Answer("delivered")


# -- the address that was judged is the one that is called ----------------------------------------------------------


async def test_a_name_that_turns_to_a_private_address_after_the_submit_is_refused_at_the_try(
    receiver: Receiver,
) -> None:
    async with posting_to("127.0.0.1", hosts=frozenset()) as poster:
        assert await outcome(poster, "https://hooks.example/") == Answer("refused")
        assert await outcome(poster, f"https://{HOST}/") == Answer("refused")
        assert await outcome(poster, "http://hooks.example/") == Answer("refused")
    assert receiver.got == []


async def test_the_name_is_resolved_once_so_that_it_cannot_turn_between_check_and_connect(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def flips(host: str, port: int) -> list[str]:
        asked.append(host)
        return [HOST] if len(asked) == 1 else ["192.0.2.1"]

    def nobody_else_resolves(host: object, *rest: object, **more: object) -> object:
        assert host in (HOST, HOST.encode()), f"{host!r} is resolved a second time"
        return real(host, *rest, **more)  # type: ignore[arg-type]

    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", nobody_else_resolves)
    poster = Poster(frozenset({"hooks.internal"}), flips)
    assert await outcome(poster, receiver.url().replace(HOST, "hooks.internal")) == Answer("delivered")
    await poster.close()
    assert asked == ["hooks.internal"]
    assert receiver.got[0].headers["host"] == f"hooks.internal:{receiver.port}"


async def test_a_name_that_does_not_resolve_is_told_as_dns() -> None:
    async def nowhere(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    assert await outcome(Poster((), nowhere), "https://hooks.example/") == Answer("dns")


async def test_the_operators_own_url_may_lead_anywhere(receiver: Receiver) -> None:
    async with posting_to(HOST, hosts=frozenset()) as poster:
        url = receiver.url().replace(HOST, "hooks.internal")
        assert await outcome(poster, url, trusted=True) == Answer("delivered")
        assert await outcome(poster, url) == Answer("refused")


# -- TLS ------------------------------------------------------------------------------------------------------------


def secured(ca: trustme.CA, *names: str) -> tuple[ssl.SSLContext, list[str | None]]:
    """A server's side with a certificate for these names, and the names that clients asked it for."""
    asked: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(*names).configure_cert(context)
    context.sni_callback = lambda socket, name, context: asked.append(name)
    return context, asked


def believing(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    ca.configure_trust(context)
    return context


async def test_with_the_address_pinned_the_certificate_is_still_that_of_the_name() -> None:
    ca = trustme.CA()
    tls, asked = secured(ca, "hooks.internal")
    async with receiving(tls=tls) as receiver:
        own = frozenset({"hooks.internal", "other.internal"})
        async with posting_to(HOST, hosts=own, tls=believing(ca)) as poster:
            url = receiver.url().replace(HOST, "hooks.internal")
            assert await outcome(poster, url) == Answer("delivered")
            assert await outcome(poster, url.replace("hooks.", "other.")) == Answer("no_connection")
        async with posting_to(HOST, hosts=own) as poster:
            assert await outcome(poster, url) == Answer("no_connection")
    assert asked == ["hooks.internal", "other.internal", "hooks.internal"]
    assert len(receiver.got) == 1


async def test_no_connection_is_shared_by_two_names_of_one_address() -> None:
    ca = trustme.CA()
    tls, asked = secured(ca, "one.internal", "two.internal")
    names = frozenset({"one.internal", "two.internal"})
    async with receiving(tls=tls) as receiver, posting_to(HOST, hosts=names, tls=believing(ca)) as poster:
        for name in ("one.internal", "two.internal", "one.internal"):
            assert await outcome(poster, receiver.url().replace(HOST, name)) == Answer("delivered")
    assert asked == ["one.internal", "two.internal", "one.internal"]
