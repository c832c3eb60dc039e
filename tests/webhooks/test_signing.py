"""Signatures as Standard Webhooks 1.0.0 has them, and the secrets they are made with."""

import base64
import secrets
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook

from outlast import ConfigurationError, Endpoint
from outlast.signing import headers, owner_secret, signature
from tests.webhooks.ground import MASTER

NOW = datetime(2026, 11, 26, 12, 0, 7, 250_000, UTC)
BODIES = (b"", b"{}", '{"type":"job.completed","data":{"metadata":{"é":"😀"}}}'.encode(), b"x" * 20_000)


def fresh(length: int = 32) -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(length)).decode()


@pytest.mark.parametrize("length", [24, 32, 63, 64])
@pytest.mark.parametrize("body", BODIES, ids=len)
def test_a_signature_is_byte_for_byte_that_of_the_standardwebhooks_package(length: int, body: bytes) -> None:
    secret = fresh(length)
    theirs = Webhook(secret).sign("evt_01", NOW, body.decode())
    assert signature("evt_01", int(NOW.timestamp()), body, secret) == theirs


def test_two_secrets_make_two_signatures_and_either_of_them_verifies() -> None:
    old, new = fresh(), fresh()
    made = headers("evt_1", int(datetime.now(UTC).timestamp()), b'{"a":1}', [new, old])
    assert len(made["webhook-signature"].split(" ")) == 2
    for secret in (old, new):
        assert Webhook(secret).verify(b'{"a":1}', made) == {"a": 1}


def test_each_owner_has_a_secret_of_their_own_which_the_master_secret_alone_tells() -> None:
    env = {"OUTLAST_SECRET": MASTER}
    made = {owner: owner_secret(owner, env) for owner in ("ada", "bob", "ad", None)}
    assert len(set(made.values())) == 4
    assert owner_secret("ada", env) == made["ada"] == "whsec_htfKxqWvGSLjmPsK8lxrmGnFXFTONglGCol5VHXhnP8="
    assert owner_secret("ada", {"OUTLAST_SECRET": MASTER[::-1]}) != made["ada"]
    Webhook(made["ada"])


def test_without_a_master_secret_nothing_is_derived() -> None:
    with pytest.raises(ConfigurationError, match="OUTLAST_SECRET, which is not set; make one"):
        owner_secret("ada", {})


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"url": "ftp://a.example/"}, "not one that can be called"),
        ({"url": "https://user@a.example/"}, "not one that can be called"),
        ({"events": ["job.started"]}, "some of job.completed, job.failed, job.cancelled"),
        ({"events": "job.failed"}, "in a list"),
        ({"full": "yes"}, "full of an Endpoint is True or False"),
        ({"secrets": []}, "needs a list of secrets"),
        ({"secrets": "whsec_"}, "needs a list of secrets"),
        ({"secrets": ["hunter2"]}, "not of its form"),
        ({"secrets": ["whsec_" + base64.b64encode(b"x" * 23).decode()]}, "not of its form"),
    ],
)
def test_an_endpoint_that_cannot_be_meant_is_refused(settings: dict[str, object], why: str) -> None:
    asked: dict[str, object] = {"url": "http://10.0.0.7:9000/hook", "secrets": [fresh()]} | settings
    with pytest.raises(ConfigurationError, match=why) as raised:
        Endpoint(**asked)  # type: ignore[arg-type]  # wrong on purpose
    assert "hunter2" not in str(raised.value)
