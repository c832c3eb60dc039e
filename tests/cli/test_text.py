"""What a job's events add up to, and how it is written down: no server, no terminal."""

import json
import sys
from io import StringIO, TextIOWrapper

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outlast.cli import env, plain
from outlast.cli.exits import masked
from outlast.cli.text import LINES, ONE_LINE, cut, safe, wire
from outlast.cli.view import Text, View
from outlast.job import Event
from outlast.output import text as output_text

HEAD = {"jobId": "job_1", "seq": 7, "time": "2026-11-22T10:00:00.000Z", "attempt": 1}


# -- text -----------------------------------------------------------------------------------------------------------


@given(st.text())
def test_nothing_that_steers_is_left(text: str) -> None:
    assert not ONE_LINE.search(safe(text))
    assert not LINES.search(safe(text, lines=True))


def test_what_is_only_foreign_stays_as_it_is() -> None:
    kept = "Zoë 日本語 עברית 👩‍💻 1 000 €"
    assert safe(kept) == kept
    assert safe("one\n\ttwo", lines=True) == "one\n\ttwo"
    assert safe("one\n\ttwo\r\x1b[2J\x9b\u2066\u2028") == r"one\n\ttwo\r\x1b[2J\x9b\u2066\u2028"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
@given(text=st.text())
def test_json_stays_the_same_json_in_every_encoding(encoding: str, text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", TextIOWrapper(StringIO(), encoding=encoding))  # type: ignore[type-var]
        shown = wire(json.dumps({text: text}, ensure_ascii=False))
    shown.encode(encoding)
    assert json.loads(shown) == {text: text}
    assert not LINES.search(shown)


def test_passwords_are_masked_and_a_bare_at_is_explained() -> None:
    assert masked("postgresql://ada:secret@host/db fails") == "postgresql://ada:***@host/db fails"
    assert masked("a://b:p@ss@host") == "a://b:***@host (in a URL, an @ of the password is written %40)"
    assert masked("sqlite:///file.db: mail ada@host") == "sqlite:///file.db: mail ada@host"


def test_long_text_is_cut() -> None:
    assert (cut("abc", 3), cut("abcd", 3)) == ("abc", "ab…")


def test_unknown_variables_are_named_with_what_was_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*env.KNOWN, "OUTLAST_STOER", "OUTLAST_TEST_X", "OUTLAST_BANANA"):
        monkeypatch.setenv(name, "x")
    banana, stoer = env.unknown()
    assert "did you mean OUTLAST_STORE?" in stoer
    assert "OUTLAST_BANANA means nothing to Outlast; known are OUTLAST_STORE" in banana


# -- events as lines ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ({"type": "job.created", "status": "queued"}, "created       status=queued"),
        ({"type": "job.progress", "progress": 40, "message": "Drafting"}, "progress      40 %  Drafting"),
        ({"type": "job.step", "name": "a", "index": 0, "status": "running"}, "step          a  running"),
        (
            {"type": "job.step", "name": "a", "index": 0, "status": "completed", "durationMs": 8120},
            "step          a  completed  8.1 s",
        ),
        ({"type": "job.output.delta", "channel": "text", "offset": 3, "text": "x\ny"}, r"output.delta  text@3  x\ny"),
        ({"type": "job.output.reset", "channel": "text", "offset": 3}, "output.reset  text@3  what stood behind"),
        ({"type": "job.log", "level": "warning", "message": "\u001b[2J"}, r"log           warning  \x1b[2J"),
        (
            {"type": "job.retrying", "delayMs": 1500, "error": {"code": "timeout", "message": "too long"}},
            "retrying      attempt 1  timeout: too long  again in 1.5 s",
        ),
        (
            {"type": "job.waiting", "status": "waiting", "reason": "signal", "until": None, "signals": ["ok"]},
            'waiting       status=waiting  reason=signal  signals=["ok"]',
        ),
        ({"type": "job.completed", "job": {"result": {"a": 1}}}, 'completed     {"a": 1}'),
        ({"type": "job.completed", "job": {}}, "completed     `outlast get` shows the result"),
        ({"type": "job.of_tomorrow", "what": "\u202e"}, r"of_tomorrow   what=\u202e"),
    ],
)
def test_an_event_is_one_line(event: dict[str, object], said: str) -> None:
    line = plain.event_line(HEAD | event)
    assert line.startswith("   7  2026-11-22T10:00:00.000Z  ")
    assert said in line
    assert "\n" not in line


# -- a view ---------------------------------------------------------------------------------------------------------

OUTPUT = st.lists(
    st.one_of(st.text(max_size=5).filter(bool), st.integers(0, 40)), max_size=30
)  # a text is written; a number takes back what stands behind it


@given(OUTPUT)
def test_a_text_is_what_every_other_reader_of_the_log_holds(entries: list[str | int]) -> None:
    text, events, length = Text(), list[Event](), 0
    for entry in entries:
        if isinstance(entry, str):
            data = {"channel": "text", "offset": length, "text": entry}
            events.append(Event(type="job.output.delta", time=0, attempt=1, data=data))
            text.put(length, entry)
            length += len(entry)
        elif entry < length:
            events.append(Event(type="job.output.reset", time=0, attempt=1, data={"channel": "text", "offset": entry}))
            text.cut(entry)
            length = entry
    assert str(text) == output_text(events)
    assert str(text).endswith(text.tail(10))
    assert len(text.tail(10)) >= min(10, length)


def test_a_view_is_the_sum_of_its_events() -> None:
    view = View()
    for event in (
        {"type": "job.created", "status": "queued"},
        {"type": "job.started", "status": "processing", "resumes": False},
        {"type": "job.step", "name": "one", "index": 0, "status": "running"},
        {"type": "job.progress", "progress": 30, "message": "going"},
        {"type": "job.output.delta", "channel": "text", "offset": 0, "text": "ab"},
        {"type": "job.step", "name": "one", "index": 0, "status": "completed", "durationMs": 10},
        {"type": "job.waiting", "status": "waiting", "reason": "sleep"},
    ):
        view.take(HEAD | event)
    assert (view.status, view.progress, view.message, view.waiting) == ("waiting", 30, "going", "sleep")
    assert view.steps[0]["status"] == "completed"
    assert str(view.texts["text"]) == "ab"
    view.take(HEAD | {"type": "job.started", "status": "processing", "resumes": False, "attempt": 2})
    assert (view.attempt, view.progress) == (2, None)
    view.take(HEAD | {"type": "job.completed", "status": "completed"})
    assert (view.status, view.progress) == ("completed", 100)


def test_a_snapshot_begins_anew_and_text_goes_on_behind_it() -> None:
    view = View()
    job = {"status": "processing", "progress": 50, "message": None, "steps": [{"name": "a", "index": 0, "status": "x"}]}
    view.take(HEAD | {"type": "job.snapshot", "job": job})
    view.take(HEAD | {"type": "job.output.delta", "channel": "text", "offset": 100, "text": "abc"})
    view.take(HEAD | {"type": "job.output.reset", "channel": "text", "offset": 102})
    assert (view.status, view.progress, len(view.steps), str(view.texts["text"])) == ("processing", 50, 1, "ab")
