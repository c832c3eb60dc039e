"""Which URLs a submit may name: reliability.md, section 5, threats 11 and 12, and section 7, inputs 42 to 49."""

import asyncio
import socket
from typing import Any

import pytest

from outlast import InvalidRequest, callback
from outlast.callback import REFUSAL, is_public, require_callable

REFUSED = {
    # 42-43: the scheme
    "ftp": "ftp://hooks.example/",
    "file": "file:///etc/passwd",
    "no scheme": "hooks.example/in",
    "no scheme, slashes": "//hooks.example/in",
    "gopher": "gopher://hooks.example:70/",
    "http": "http://hooks.example/in",
    "javascript": "javascript:alert(1)",
    "no host": "https:///in",
    "no host, port": "https://:443/in",
    # 44: addresses that are not public, in every form
    "loopback": "https://127.0.0.1/",
    "loopback, another": "https://127.8.8.8/",
    "loopback, short": "https://127.1/",
    "loopback, one number": "https://2130706433/",
    "loopback, octal": "https://0177.0.0.1/",
    "loopback, hexadecimal": "https://0x7f000001/",
    "loopback, mixed": "https://0x7f.0.0.1/",
    "zero": "https://0/",
    "any": "https://0.0.0.0/",
    "this network": "https://0.1.2.3/",
    "localhost": "https://localhost/",
    "localhost, upper case": "https://LOCALHOST/",
    "metadata": "https://169.254.169.254/latest/meta-data/",
    "metadata, one number": "https://2852039166/",
    "metadata, a name": "https://metadata/",
    "link-local": "https://169.254.1.1/",
    "private 10": "https://10.0.0.1/",
    "private 172": "https://172.16.0.1/",
    "private 172, the last": "https://172.31.255.255/",
    "private 192": "https://192.168.1.1/",
    "shared": "https://100.64.0.1/",
    "shared, the last": "https://100.127.255.254/",
    "protocol assignments": "https://192.0.0.8/",
    "documentation": "https://192.0.2.1/",
    "6to4 relay": "https://192.88.99.1/",
    "benchmarks": "https://198.18.0.1/",
    "multicast": "https://224.0.0.1/",
    "reserved": "https://240.0.0.1/",
    "broadcast": "https://255.255.255.255/",
    "IPv6 loopback": "https://[::1]/",
    "IPv6 any": "https://[::]/",
    "IPv4 mapped": "https://[::ffff:127.0.0.1]/",
    "IPv4 mapped, hexadecimal": "https://[::ffff:7f00:1]/",
    "IPv4 mapped, public": "https://[::ffff:8.8.8.8]/",
    "IPv4 compatible": "https://[::127.0.0.1]/",
    "NAT64": "https://[64:ff9b::7f00:1]/",
    "NAT64, metadata": "https://[64:ff9b::a9fe:a9fe]/",
    "NAT64, local": "https://[64:ff9b:1::1]/",
    "6to4": "https://[2002:7f00:1::]/",
    "Teredo": "https://[2001:0:7f00:1::]/",
    "IPv6 documentation": "https://[2001:db8::1]/",
    "IPv6 documentation, new": "https://[3fff::1]/",
    "IPv6 discard": "https://[100::1]/",
    "unique local": "https://[fd00::1]/",
    "IPv6 link-local": "https://[fe80::1]/",
    "IPv6 link-local, zone": "https://[fe80::1%25eth0]/",
    "site-local": "https://[fec0::1]/",
    "IPv6 multicast": "https://[ff02::1]/",
    "metadata of EC2, IPv6": "https://[fd00:ec2::254]/",
    # 45: what parsers differ on
    "user": "https://user@hooks.example/",
    "user and password": "https://hooks.example:secret@127.0.0.1/",
    "empty user": "https://@hooks.example/",
    "fragment": "https://hooks.example/#in",
    "empty fragment": "https://hooks.example/#",
    "backslash": "https://hooks.example\\@127.0.0.1/",
    "tab": "https://hooks\t.example/",
    "newline": "https://hooks.example/\r\nX: 1",
    "leading space": " https://hooks.example/",
    # 46: ports
    "port 0": "https://hooks.example:0/",
    "port 25": "https://hooks.example:25/",
    "port 22": "https://hooks.example:22/",
    "port 6379": "https://hooks.example:6379/",
    "port 99999": "https://hooks.example:99999/",
    "port, no number": "https://hooks.example:https/",
    "port of other digits": "https://hooks.example:٤٤٣/",
    # 47-48: hosts and lengths
    "space": "https://hooks example/",
    "underscore": "https://ho_oks.example/",
    "trailing dot": "https://hooks.example./",
    "two dots": "https://hooks..example/",
    "percent in the host": "https://hooks%2eexample/",
    "homograph": "https://hооks.example/",
    "full-width dots": "https://127。0。0。1/",
    "label of 64": f"https://{'a' * 64}.example/",
    "2,049 characters": "https://hooks.example/" + "x" * 2027,
}

PUBLIC = ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"]

ALLOWED = {
    "plain": "https://hooks.example/in",
    "query": "https://hooks.example/in?a=1&b=%20",
    "port 443": "https://hooks.example:443/in",
    "port 8443": "https://hooks.example:8443/in",
    "upper case": "HTTPS://Hooks.Example/In",
    "punycode": "https://xn--hks-4cda.example/",
    "IPv4": "https://93.184.215.14/",
    "IPv6": "https://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]/",
    "2,048 characters": "https://hooks.example/" + "x" * 2026,
}


async def public(host: str, port: int) -> list[str]:
    """A name server that is on the attacker's side: every name is public; what is an address stays one."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except OSError:
        return PUBLIC
    return [str(address[0]) for *_, address in found]


@pytest.mark.parametrize("url", REFUSED.values(), ids=REFUSED)
async def test_a_url_that_leads_elsewhere_than_to_a_public_host_is_refused_in_one_text(url: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        await require_callable(url, (), public)
    assert raised.value.code == "callback_refused"
    assert raised.value.errors == [{"pointer": "/webhook/url", "detail": REFUSAL}]


@pytest.mark.parametrize("url", ALLOWED.values(), ids=ALLOWED)
async def test_a_url_of_a_public_host_is_taken(url: str) -> None:
    await require_callable(url, (), public)


@pytest.mark.parametrize("mixed", [[*PUBLIC, "10.0.0.1"], ["127.0.0.1"], ["::1", *PUBLIC], ["fe80::1%eth0"]])
async def test_a_name_is_refused_if_one_of_its_addresses_is_not_public(mixed: list[str]) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return mixed

    with pytest.raises(InvalidRequest):
        await require_callable("https://hooks.example/", (), resolve)


async def test_a_name_that_does_not_resolve_now_is_taken() -> None:
    async def nowhere(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    await require_callable("https://hooks.example/", (), nowhere)


async def test_a_name_server_that_hangs_holds_up_no_submit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callback, "PATIENCE", 0.01)

    async def hangs(host: str, port: int) -> list[str]:
        await asyncio.Event().wait()
        raise AssertionError

    await require_callable("https://hooks.example/", (), hangs)


@pytest.mark.parametrize("url", ["http://hooks.internal:9000/in", "http://127.0.0.1:9000/", "https://[::1]:6379/"])
async def test_a_host_that_the_operator_names_may_be_called_anywhere_and_no_other_by_its_address(url: str) -> None:
    async def private(host: str, port: int) -> list[str]:
        return ["10.0.0.7"]

    await require_callable(url, {"hooks.internal", "127.0.0.1", "::1"}, private)
    for other in ("http://10.0.0.7:9000/in", "https://hooks.other/", "http://sub.hooks.internal/"):
        with pytest.raises(InvalidRequest):
            await require_callable(other, {"hooks.internal", "127.0.0.1", "::1"}, private)


@pytest.mark.parametrize("text", ["", "hooks.example", "127.1", "1.2.3.4.5", "::ffff:1.2.3.4"])
def test_what_is_no_public_address_is_not_taken_for_one(text: str) -> None:
    assert not is_public(text)


async def test_the_system_is_asked_in_a_thread_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def getaddrinfo(*args: Any, **kwargs: Any) -> list[Any]:
        asked.append((args, kwargs))
        return [(0, 0, 0, "", ("93.184.215.14", 443)), (0, 0, 0, "", ("93.184.215.14", 443))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert await callback.resolved("hooks.example", 443) == ["93.184.215.14"]
    assert asked == [(("hooks.example", 443), {"type": socket.SOCK_STREAM})]
