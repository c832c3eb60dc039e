"""docs/webhooks.md: its receiver takes what is ours, once, and nothing else."""

import asyncio
import base64
import json
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from time import time
from types import ModuleType
from typing import Any

import pytest

from outlast import Endpoint, Outlast
from outlast.signing import headers, owner_secret
from tests.test_docs import ROOT, blocks
from tests.webhooks.ground import MASTER, Got, answers, receiving
from tests.webhooks.test_deliveries import run, told
from tests.webhooks.test_signing import fresh

SECRET = owner_secret("ada", {"OUTLAST_SECRET": MASTER})
PAGE = ROOT / "docs" / "webhooks.md"
BODY = b'{"type":"job.completed","timestamp":"2026-11-22T10:04:31.020Z","data":{"jobId":"job_1"}}'


@pytest.fixture
def snippets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    """The page's own code, by the names that it gives its files."""
    monkeypatch.setenv("OUTLAST_STORE", "memory://")
    loaded = {}
    for block in blocks(PAGE):
        if block.language == "python":
            name = block.text.splitlines()[0].removeprefix("# ").removesuffix(".py")
            path = tmp_path / f"{name}.py"
            path.write_text(block.text, "utf-8")
            spec = spec_from_file_location(f"webhooks_page_{name}", path)
            assert spec is not None and spec.loader is not None
            loaded[name] = sys.modules[spec.name] = module_from_spec(spec)
            spec.loader.exec_module(loaded[name])
    yield loaded
    for module in loaded.values():
        del sys.modules[module.__name__]


@pytest.fixture
def acted() -> list[Any]:
    return []


@pytest.fixture
def recipe(snippets: dict[str, ModuleType], tmp_path: Path, acted: list[Any]) -> Iterator[Any]:
    receiver = snippets["receiver"].Receiver(SECRET, str(tmp_path / "seen.db"), lambda *told: acted.append(told))
    yield receiver
    receiver._seen.close()


def signed(*, id: str = "evt_1_0", at: float = 0, body: bytes = BODY, secret: str = SECRET) -> dict[str, str]:
    return headers(id, int(time() + at), body, [secret])


def test_a_message_is_acted_on_once_however_often_it_comes(recipe: Any, acted: list[Any]) -> None:
    for at in (0, 1, 2):
        assert recipe.receive(signed(at=at), BODY) == 204
    assert acted == [("job.completed", {"jobId": "job_1"})]
    assert recipe.receive(signed(id="evt_2_0"), BODY) == 204
    assert len(acted) == 2


def test_a_message_whose_handling_fails_comes_again(recipe: Any, acted: list[Any]) -> None:
    def breaks(*told: Any) -> None:
        raise RuntimeError("no such luck")

    works, recipe._act = recipe._act, breaks
    with pytest.raises(RuntimeError):
        recipe.receive(signed(), BODY)
    recipe._act = works
    assert recipe.receive(signed(), BODY) == 204
    assert len(acted) == 1


OTHER = BODY.replace(b"job_1", b"job_2")
FORGED: dict[str, tuple[dict[str, str], bytes]] = {
    "another body": (signed(), OTHER),
    "one bit": (signed(), bytes([BODY[0] ^ 1]) + BODY[1:]),
    "written anew": (signed(), json.dumps(json.loads(BODY)).encode()),
    "another id": (signed() | {"webhook-id": "evt_9_0"}, BODY),
    "another time": (signed() | {"webhook-timestamp": str(int(time()) + 1)}, BODY),
    "another's secret": (signed(secret=owner_secret("bob", {"OUTLAST_SECRET": MASTER})), BODY),
    "a made-up secret": (signed(secret=fresh()), BODY),
    "no time": (signed() | {"webhook-timestamp": "now"}, BODY),
    "no signature": (signed() | {"webhook-signature": ""}, BODY),
    "another algorithm": (signed() | {"webhook-signature": signed()["webhook-signature"].replace("v1,", "v1a,")}, BODY),
    "none": (signed() | {"webhook-signature": "none,"}, BODY),
    "an empty signature": (signed() | {"webhook-signature": "v1,"}, BODY),
    "zeros": (signed() | {"webhook-signature": "v1," + base64.b64encode(bytes(32)).decode()}, BODY),
    **{f"without {name}": ({k: v for k, v in signed().items() if k != name}, BODY) for name in signed()},
}


@pytest.mark.parametrize(("sent", "body"), FORGED.values(), ids=FORGED)
def test_nothing_forged_is_accepted(recipe: Any, acted: list[Any], sent: dict[str, str], body: bytes) -> None:
    assert recipe.receive(sent, body) == 401
    assert acted == []


@pytest.mark.parametrize(("at", "status"), [(-290, 204), (-310, 401), (280, 204), (310, 401)])
def test_nothing_is_accepted_that_is_five_minutes_off(recipe: Any, acted: list[Any], at: float, status: int) -> None:
    assert recipe.receive(signed(at=at), BODY) == status
    assert len(acted) == (status == 204)


def test_either_signature_of_a_rotation_is_accepted(recipe: Any, acted: list[Any]) -> None:
    assert recipe.receive(headers("evt_1_0", int(time()), BODY, [fresh(), SECRET]), BODY) == 204
    assert len(acted) == 1


async def test_it_takes_what_is_delivered_and_refuses_what_another_owner_had_sent_to_it(
    recipe: Any, acted: list[Any], app: Outlast
) -> None:
    async def answer(got: Got, writer: asyncio.StreamWriter) -> None:
        await answers(recipe.receive(got.headers, got.body))(got, writer)

    async with receiving(answer) as receiver:
        job = await told(app, receiver, owner="ada")
        foreign = await told(app, receiver, owner="bob")
        await run(app)
    assert [(type, data["jobId"]) for type, data in acted] == [("job.completed", job.id)]
    [delivery] = await app.deliveries(foreign)
    assert [one.outcome for one in delivery.tries] == ["rejected"]


def test_the_apps_of_the_page_are_what_they_are_said_to_be(snippets: dict[str, ModuleType]) -> None:
    assert snippets["inside"].app.webhook_hosts == {"hooks.internal", "127.0.0.1"}
    [endpoint] = snippets["endpoints"].app._endpoints.values()
    assert isinstance(endpoint, Endpoint) and endpoint.events == ["job.failed"]
    assert "report" in snippets["shop"].app.handlers
