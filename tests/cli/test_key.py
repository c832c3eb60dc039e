"""`outlast key`: a key for a client with the entry by which a server knows it, and secrets as receivers need them."""

import hashlib

import httpx2
import pytest
from click.testing import CliRunner

from outlast.cli.commands import commands
from outlast.signing import owner_secret
from tests.cli.ground import Place

pytestmark = pytest.mark.usefixtures("imports")


def made(place: Place, *words: str) -> tuple[str, str]:
    """A new key and its entry."""
    lines = dict(line.split("=", 1) for line in place.inside("key", "new", *words).stdout.splitlines())
    assert list(lines) == ["OUTLAST_KEY", "OUTLAST_KEYS"]
    return lines["OUTLAST_KEY"], lines["OUTLAST_KEYS"]


def test_a_key_is_shown_once_and_known_by_its_digest(place: Place) -> None:
    key, entry = made(
        place, "--owner", "ada", "--id", "laptop", "--scopes", "jobs:read+owner:any", "--until", "2999-01-31"
    )
    digest = hashlib.sha256(key.encode()).hexdigest()
    assert entry == f"laptop:ada:jobs:read+owner:any:{digest}:2999-01-31"
    assert len(key) >= 40


def test_without_options_it_submits_reads_and_cancels_for_an_owner_of_its_own(place: Place) -> None:
    (key, entry), (other, _) = made(place), made(place)
    id, owner, scopes = entry.split(":", 2)
    assert id == owner
    assert scopes.startswith("jobs:read+jobs:write+jobs:cancel:")
    assert key != other


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--owner", "a:b"], "unknown scope b"),
        (["--owner", "a,b"], "not of this form"),
        (["--id", "a b"], "not of this form"),
        (["--scopes", "jobs:fly"], "unknown scope jobs:fly"),
        (["--until", "2027-02-30"], "2027-02-30"),
    ],
)
def test_what_an_entry_cannot_hold_is_refused(place: Place, words: list[str], said: str) -> None:
    done = place.inside("key", "new", *words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr


def test_a_server_lets_the_key_in_and_logs_name_it_by_its_id(place: Place) -> None:
    key, entry = made(place, "--id", "laptop", "--scopes", "jobs:read")
    with place.serving("--no-worker", env={"OUTLAST_KEYS": entry}) as server:
        url, headers = f"{place.env['OUTLAST_URL']}/jobs", {"Authorization": f"Bearer {key}"}
        assert httpx2.get(url).status_code == 401
        assert httpx2.get(url, headers=headers).status_code == 200
        assert httpx2.post(url, headers=headers, json={"type": "greet"}).status_code == 403
        assert server.line(r"request req_\w+ of laptop was refused: forbidden_scope")
        assert key not in server.err


MASTER = "pX3vT9qLw8Zr2NcK7mHs5JdY4bGf6AeU"


@pytest.mark.parametrize("owner", ["ada", None])
def test_the_secret_of_an_owners_webhooks_is_printed(owner: str | None) -> None:
    asked = ["key", "webhook", *([owner] if owner else [])]
    result = CliRunner(env={"OUTLAST_SECRET": MASTER}).invoke(commands, asked)
    assert (result.exit_code, result.output) == (0, owner_secret(owner, {"OUTLAST_SECRET": MASTER}) + "\n")


@pytest.mark.parametrize(("master", "why"), [("", "is not set"), ("short", "fewer than 32 can be guessed")])
def test_without_a_proper_master_secret_it_says_how_to_make_one(master: str, why: str) -> None:
    result = CliRunner(env={"OUTLAST_SECRET": master}).invoke(commands, ["key", "webhook", "ada"])
    assert result.exit_code == 2
    assert why in result.output and "openssl rand" in result.output
