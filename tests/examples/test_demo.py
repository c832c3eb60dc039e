"""The demo from outside: it is killed in the middle, started again, and the job goes on from its last finished step."""

import json
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import httpx2
import pytest

from tests.examples.demo_process import Demo, assert_no_finished_call_is_repeated, wait_until
from tests.examples.samples import ELECTRICITY, PHYSIOTHERAPY, TRANSCRIPTS, offline_journey

PAGE = TRANSCRIPTS.parent / "page"


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    demo = Demo(tmp_path, pace=0.002)
    try:
        yield demo
    finally:
        demo.close()


def read_until_cut(demo: Demo, id: str, seen: list[dict[str, Any]], *, kill_in: int = 0) -> None:
    """Follow the job behind what was seen to its end, or until the line is cut: the server is killed in that step."""
    headers = {"Accept": "text/event-stream", "Last-Event-ID": str(seen[-1]["seq"] if seen else 0)}
    try:
        with httpx2.stream("GET", f"{demo.url}/jobs/{id}/events", headers=headers, timeout=30) as response:
            for line in response.iter_lines():
                if line.startswith("data: ") and (event := json.loads(line[6:])).get("seq"):
                    seen.append(event)
                    if event["type"] == "job.output.delta" and event["step"] == kill_in > 0:
                        demo.kill()
    except httpx2.TransportError:
        pass


def assert_whole(demo: Demo, id: str, seen: list[dict[str, Any]]) -> None:
    """Every event once and in order, and the text that they make up is the text of the job."""
    assert [event["seq"] for event in seen] == list(range(1, len(seen) + 1))
    assert seen[-1]["type"] == "job.completed"
    assert text_of(seen) == demo.output(id)
    for phase in offline_journey(ELECTRICITY).phases:
        assert demo.output(id).count(f"\n{phase.name}\n\nDoing") <= 1, "nothing is there twice"


def text_of(events: list[dict[str, Any]]) -> str:
    text = ""
    for event in events:
        if event["type"] in ("job.output.delta", "job.output.reset") and event["channel"] == "text":
            text = text[: event["offset"]] + event.get("text", "")
    return text


@pytest.mark.slow
def test_a_kill_inside_a_step_repeats_that_step_alone(demo: Demo) -> None:
    demo.start()
    id = demo.submit(ELECTRICITY)
    seen: list[dict[str, Any]] = []
    read_until_cut(demo, id, seen, kill_in=4)
    assert [event["status"] for event in seen if event["type"] == "job.step"][-1] == "running"

    demo.start()
    ready, before = monotonic(), len(seen)
    wait_until(lambda: demo.job(id)["seq"] > before, "the job goes on", timeout=3)
    assert monotonic() - ready < 3
    read_until_cut(demo, id, seen)

    assert_whole(demo, id, seen)
    assert_no_finished_call_is_repeated(demo, id)
    calls = [call["step"] for call in demo.model_calls()]
    assert len(calls) == len(set(calls)) + 1
    assert demo.job(id)["result"]["phases"] == [
        phase.model_dump(by_alias=True) for phase in offline_journey(ELECTRICITY).phases
    ]


@pytest.mark.slow
def test_a_kill_between_steps_repeats_no_call_at_all(demo: Demo) -> None:
    demo.start("tests.examples.fragile_demo", OUTLAST_TEST_DIE_AT="40")
    id = demo.submit(ELECTRICITY)
    seen: list[dict[str, Any]] = []
    read_until_cut(demo, id, seen)
    demo.wait_for_death()
    asked = demo.model_calls()

    demo.start()
    wait_until(lambda: demo.job(id)["seq"] > len(seen), "the job goes on", timeout=3)
    read_until_cut(demo, id, seen)

    assert_whole(demo, id, seen)
    assert_no_finished_call_is_repeated(demo, id)
    calls = [call["step"] for call in demo.model_calls()]
    assert len(asked) > 2
    assert len(calls) == len(set(calls)) == 9


@pytest.mark.slow
def test_a_stop_ends_streams_hands_the_job_back_and_burns_no_attempt(demo: Demo) -> None:
    demo.start()
    id = demo.submit(PHYSIOTHERAPY)
    with httpx2.stream(
        "GET", f"{demo.url}/jobs/{id}/events?after=0", headers={"Accept": "text/event-stream"}
    ) as response:
        lines = response.iter_lines()
        wait_until(lambda: '"status":"running"' in next(lines), "a step runs")
        assert demo.stop() < 15

    demo.start()
    wait_until(lambda: demo.job(id)["status"] == "completed", "the job is done")

    assert demo.job(id)["attempt"] == 1
    assert_no_finished_call_is_repeated(demo, id)


def test_pages_and_service_are_there_and_the_page_needs_no_other_host(demo: Demo) -> None:
    demo.start()

    def get(path: str) -> httpx2.Response:
        return httpx2.get(demo.url + path).raise_for_status()

    assert "default-src 'none'" in get("/").headers["content-security-policy"]
    assert get("/model").json() == {"model": "outlast-offline", "offline": True}
    assert get("/transcripts/electricity.txt").text == ELECTRICITY
    assert "transcript_to_journey" in get("/openapi.json").text
    for file in PAGE.iterdir():
        text = get(f"/{file.name}").text
        assert text == file.read_text(encoding="utf-8")
        assert "http" not in text.replace("http://www.w3.org/2000/svg", ""), f"{file.name} names another host"


def test_the_addresses_from_before_answer_as_they_did(demo: Demo) -> None:
    demo.start()

    def status(id: str) -> httpx2.Response:
        return httpx2.get(f"{demo.url}/check-job-status", params={"jobId": id})

    def submit(**body: object) -> httpx2.Response:
        return httpx2.post(f"{demo.url}/transcript-to-journey-background", json=body)

    accepted = submit(transcript=PHYSIOTHERAPY, prompt="the code by post")
    assert accepted.status_code == 202
    id = accepted.json()["jobId"]
    assert list(accepted.json()) == ["jobId"]
    assert list(status(id).json()) == ["status", "createdAt"]
    wait_until(lambda: status(id).json()["status"] != "processing", "it is done")
    assert status(id).json() == {"status": "completed", "result": demo.job(id)["result"]}

    short = submit(transcript="hello").json()["jobId"]
    wait_until(lambda: status(short).json()["status"] == "failed", "it fails")
    assert "too short" in status(short).json()["error"]
    assert (status("job_unknown").status_code, submit(transcript=3).status_code) == (404, 400)
