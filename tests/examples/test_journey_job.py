"""The handler, as a job on a real store: steps, streamed text, quotes, failures, the log of model calls."""

import pytest

from outlast import Outlast, Status
from tests.examples.conftest import ModelCalls
from tests.examples.samples import ELECTRICITY, PHYSIOTHERAPY, offline_journey


async def finished(app: Outlast, **payload: str) -> tuple[dict[str, object], str]:
    """The job on the wire once it has ended, and its text."""
    job = await app.submit("transcript_to_journey", payload)
    job = await app.wait(job, 60)
    return job.wire(steps=await app.steps(job.id)), await app.output(job.id)


async def test_a_transcript_becomes_the_journey_that_it_tells(app: Outlast) -> None:
    job, text = await finished(app, transcript=PHYSIOTHERAPY)

    expected = offline_journey(PHYSIOTHERAPY).model_copy(update={"model": "outlast-offline"})
    assert job["status"] == "completed"
    assert job["result"] == expected.model_dump(by_alias=True)
    for phase in expected.phases:
        assert phase.name in text
        assert all(quote in text for quote in phase.quotes)


async def test_the_result_has_exactly_the_names_of_the_wire(app: Outlast) -> None:
    job, _ = await finished(app, transcript=PHYSIOTHERAPY)

    journey = job["result"]
    assert isinstance(journey, dict)
    assert list(journey) == ["title", "persona", "phases", "model", "offline"]
    assert {tuple(phase) for phase in journey["phases"]} == {
        ("name", "actions", "thoughts", "emotions", "painPoints", "opportunities", "quotes")
    }
    assert {tuple(emotion) for phase in journey["phases"] for emotion in phase["emotions"]} == {("name", "score")}
    assert (journey["model"], journey["offline"]) == ("outlast-offline", True)


async def test_each_phase_is_a_step_and_each_step_that_asks_the_model_asks_once(
    app: Outlast, model_calls: ModelCalls
) -> None:
    job, _ = await finished(app, transcript=PHYSIOTHERAPY)

    steps = job["steps"]
    assert isinstance(steps, list)
    names = [step["name"] for step in steps]
    assert names[:2] == ["Reading the transcript", "Finding the phases"]
    assert names[-1] == "Checking the quotes"
    assert [name.startswith("Describing ") for name in names[2:-1]] == [True] * 4
    assert [step["status"] for step in steps] == ["completed"] * len(steps)

    calls = model_calls()
    assert [call["step"] for call in calls] == names[1:-1]
    assert {call["job"] for call in calls} == {job["id"]}
    assert {(call["attempt"], call["model"]) for call in calls} == {(1, "outlast-offline")}


async def test_the_log_says_what_became_of_the_quotes(app: Outlast) -> None:
    job = await app.wait(await app.submit("transcript_to_journey", {"transcript": PHYSIOTHERAPY}), 60)

    logged = [event.data["message"] for event in await app.events(job.id, limit=10_000) if event.type == "job.log"]
    assert logged == ["Quotes: 8 found word for word, 0 mended to the exact words, 0 dropped"]


async def test_a_quote_that_nobody_said_is_not_in_the_result(app: Outlast, monkeypatch: pytest.MonkeyPatch) -> None:
    from examples.journeys import agents
    from examples.journeys.journey import Phase
    from examples.journeys.offline.answers import answer

    def inventive(wanted: str, prompt: str) -> object:
        said = answer(wanted, prompt)
        return said.model_copy(update={"quotes": ["Nobody ever said this."]}) if isinstance(said, Phase) else said

    monkeypatch.setattr(agents, "answer", inventive)
    job, _ = await finished(app, transcript=PHYSIOTHERAPY)

    assert isinstance(job["result"], dict)
    assert [phase["quotes"] for phase in job["result"]["phases"]] == [[], [], [], []]


async def test_the_prompt_is_optional_and_turns_the_attention(app: Outlast) -> None:
    plain, _ = await finished(app, transcript=ELECTRICITY)
    asked, _ = await finished(app, transcript=ELECTRICITY, prompt="a hundred euros")

    assert plain["result"] != asked["result"]


@pytest.mark.parametrize("transcript", ["", "Too short.", "word " * 1000])
async def test_what_is_no_interview_fails_at_once_with_advice(app: Outlast, transcript: str) -> None:
    job = await app.wait(await app.submit("transcript_to_journey", {"transcript": transcript}), 20)

    assert (job.status, job.attempt) == (Status.FAILED, 1)
    assert job.last_error is not None
    assert job.last_error.message.startswith("The transcript")
    assert job.last_error.advice


async def test_an_unknown_model_fails_with_the_names_of_known_ones(
    app: Outlast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTLAST_MODEL", "acme:x")
    job = await app.wait(await app.submit("transcript_to_journey", {"transcript": PHYSIOTHERAPY}), 20)

    assert job.last_error is not None
    assert job.last_error.code == "provider_error"
    assert "openai:MODEL" in str(job.last_error.advice)


async def test_a_model_is_asked_inside_a_step_and_nowhere_else() -> None:
    from examples.journeys.agents import ask_outline
    from examples.journeys.transcript import read_transcript

    with pytest.raises(RuntimeError, match="inside a step"):
        await ask_outline(read_transcript(PHYSIOTHERAPY), "", "Finding the phases")
