"""The same handler with a vendor's SDK, against a vendor on loopback."""

from time import monotonic

import pytest

from examples.journeys.agents import covering
from examples.journeys.journey import Stretch
from outlast import Job, Outlast, Status
from tests.examples.conftest import ModelCalls
from tests.examples.fake_vendor import FakeVendor, fake_vendor, refused
from tests.examples.samples import PHYSIOTHERAPY, offline_journey


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    monkeypatch.setenv("OUTLAST_MODEL", "openai:gpt-test")
    return monkeypatch


async def journey_from(app: Outlast, vendor: FakeVendor, environment: pytest.MonkeyPatch) -> Job[object]:
    environment.setenv("OPENAI_BASE_URL", vendor.url)
    environment.setenv("OLLAMA_BASE_URL", vendor.url)
    environment.setenv("GROK_BASE_URL", vendor.url)
    return await app.wait(await app.submit("transcript_to_journey", {"transcript": PHYSIOTHERAPY}), 60)


async def test_a_vendor_streams_the_same_journey_through_its_sdk(
    app: Outlast, environment: pytest.MonkeyPatch, model_calls: ModelCalls
) -> None:
    async with fake_vendor() as vendor:
        job = await journey_from(app, vendor, environment)

    expected = offline_journey(PHYSIOTHERAPY).model_copy(update={"model": "openai:gpt-test", "offline": False})
    assert job.wire()["result"] == expected.model_dump(by_alias=True)
    assert vendor.keys == ["Bearer sk-test"] * 5
    assert all(request["stream"] for request in vendor.requests)
    assert [call["model"] for call in model_calls()] == ["openai:gpt-test"] * 5
    assert job.usage == {"inputTokens": 5000, "outputTokens": 1000}

    deltas = [event for event in await app.events(job.id, limit=1000) if event.type == "job.output.delta"]
    assert "".join(event.data["text"] for event in deltas) == await app.output(job.id)
    assert all(phase.name in "".join(event.data["text"] for event in deltas) for phase in expected.phases)


@pytest.mark.parametrize(
    ("model", "key", "sent"), [("grok:grok-test", "XAI_API_KEY", "Bearer k"), ("ollama:tiny", "X", "Bearer ollama")]
)
async def test_grok_and_ollama_answer_over_the_same_protocol(
    app: Outlast, environment: pytest.MonkeyPatch, model: str, key: str, sent: str
) -> None:
    environment.setenv("OUTLAST_MODEL", model)
    environment.setenv(key, "k")
    async with fake_vendor() as vendor:
        job = await journey_from(app, vendor, environment)

    assert job.status is Status.COMPLETED
    assert job.wire()["result"]["model"] == model
    assert set(vendor.keys) == {sent}


async def test_a_rate_limit_gives_the_worker_back_for_as_long_as_the_vendor_asks(
    app: Outlast, environment: pytest.MonkeyPatch, model_calls: ModelCalls
) -> None:
    began = monotonic()
    async with fake_vendor(lambda number: refused(429, {"Retry-After": "2"}) if number == 3 else None) as vendor:
        job = await journey_from(app, vendor, environment)

    assert (job.status, job.attempt) == (Status.COMPLETED, 2)
    assert monotonic() - began > 2
    paused = [event for event in await app.events(job.id, limit=1000) if event.type == "job.retrying"]
    assert [event.data["delayMs"] for event in paused] == [2000]
    assert paused[0].data["error"]["code"] == "rate_limited"

    steps = [call["step"] for call in model_calls()]
    assert len(steps) == 6
    assert steps[2] == steps[3], "only the refused call is made again, by the job and not by the SDK"
    assert len(vendor.requests) == 6


async def test_a_server_error_is_tried_again_with_the_jobs_own_backoff(
    app: Outlast, environment: pytest.MonkeyPatch
) -> None:
    async with fake_vendor(lambda number: refused(500) if number == 1 else None) as vendor:
        job = await journey_from(app, vendor, environment)

    assert (job.status, job.attempt, len(vendor.requests)) == (Status.COMPLETED, 2, 6)


@pytest.mark.parametrize(
    ("status", "advice"), [(401, "Check OPENAI_API_KEY"), (403, "Check OPENAI_API_KEY"), (404, "OUTLAST_MODEL")]
)
async def test_what_no_retry_can_mend_fails_at_once_and_names_the_variable(
    app: Outlast, environment: pytest.MonkeyPatch, status: int, advice: str
) -> None:
    async with fake_vendor(lambda number: refused(status)) as vendor:
        job = await journey_from(app, vendor, environment)

    assert (job.status, job.attempt, len(vendor.requests)) == (Status.FAILED, 1, 1)
    assert job.last_error is not None
    assert job.last_error.code == "provider_error"
    assert advice in str(job.last_error.advice)
    assert "sk-test" not in str(job.last_error)


def test_phases_of_a_model_that_counts_badly_still_cover_every_turn_once() -> None:
    told = [
        Stretch(name="Waiting", first_turn=9, last_turn=4),
        Stretch(name=" Signing\nup ", first_turn=2, last_turn=30),
        Stretch(name="Waiting", first_turn=14, last_turn=15),
        Stretch(name="", first_turn=99, last_turn=-1),
        Stretch(name="x" * 500, first_turn=17, last_turn=17),
    ]

    phases = [(phase.name, phase.first_turn, phase.last_turn) for phase in covering(told, 20)]

    assert phases == [
        ("Signing up", 1, 8),
        ("Waiting", 9, 13),
        ("Waiting (3)", 14, 16),
        ("x" * 80, 17, 19),
        ("Phase 5", 20, 20),
    ]
