"""Metrics: what a process counts, and the page they make, read by Prometheus' own parser."""

import json
import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from outlast import lifecycle
from outlast.job import Job, JobError, Status
from outlast.metrics import FAMILIES, Meter, Sample, Totals, page, samples
from outlast.observe import Observe

NOW = 1_000.0


def parsed(found: Iterable[Sample]) -> dict[str, Metric]:
    """By the name without `_total`, which the parser takes off a counter."""
    return {metric.name: metric for metric in text_string_to_metric_families(page(found))}


def claimed(queued_at: float = NOW, claimed_at: float = NOW, type: str = "report") -> Job[None]:
    return Job(
        id="job_1",
        type=type,
        status=Status.PROCESSING,
        attempt=1,
        lease="secret",
        queued_at=queued_at,
        claimed_at=claimed_at,
    )


def of(meter: Meter, process: str = "here:1:ab") -> Totals:
    return meter.totals(process, {})


# -- counting -------------------------------------------------------------------------------------------------------


def test_an_end_is_counted_by_type_and_status_and_a_failed_attempt_by_code() -> None:
    meter, job = Meter(), claimed()
    error = JobError(code="timeout", message="slow", retryable=True, attempt=1, at=NOW)
    meter.moved(job, lifecycle.complete(job, "1", NOW))
    meter.moved(job, lifecycle.raised(job, error, NOW, chance=0.5))
    meter.moved(job, lifecycle.fail(job, error, NOW))
    found = parsed(samples([of(meter)]))
    ended = {(one.labels["type"], one.labels["status"]): one.value for one in found["outlast_jobs_ended"].samples}
    assert ended == {("report", "completed"): 1, ("report", "failed"): 1}
    [failed] = found["outlast_attempts_failed"].samples
    assert (failed.labels["code"], failed.value) == ("timeout", 2)
    assert meter.ended == 2


def test_a_job_that_fails_without_an_attempt_counts_as_no_failed_attempt() -> None:
    meter, job = Meter(), Job[None](id="job_1", type="report", deadline=NOW)
    meter.moved(job, lifecycle.deadline(job, NOW))
    found = parsed(samples([of(meter)]))
    assert "outlast_attempts_failed" not in found
    assert [one.value for one in found["outlast_jobs_ended"].samples] == [1]


def test_a_slice_counts_its_wait_and_its_run() -> None:
    meter = Meter()
    meter.ran(claimed(queued_at=NOW - 7, claimed_at=NOW), None, NOW + 3)
    found = parsed(samples([of(meter)]))
    assert sum_of(found["outlast_wait_seconds"]) == 7
    assert sum_of(found["outlast_run_seconds"]) == 3


def test_a_clock_that_was_set_back_makes_no_sum_smaller() -> None:
    meter = Meter()
    meter.heard(2.0)
    meter.heard(-5.0)
    lag = parsed(samples([of(meter)]))["outlast_event_lag_seconds"]
    assert sum_of(lag) == 2
    assert buckets_of(lag)[0][1] == 1


def sum_of(metric: Metric) -> float:
    return next(one.value for one in metric.samples if one.name.endswith("_sum"))


def buckets_of(metric: Metric) -> list[tuple[float, float]]:
    return [(float(one.labels["le"]), one.value) for one in metric.samples if one.name.endswith("_bucket")]


@given(st.lists(st.floats(0, 1e5), min_size=1))
def test_buckets_are_cumulative_and_hold_what_is_not_above_their_bound(values: list[float]) -> None:
    meter = Meter()
    for value in values:
        meter.heard(value)
    metric = parsed(samples([of(meter)]))["outlast_event_lag_seconds"]
    buckets = buckets_of(metric)
    assert buckets == [(bound, sum(value <= bound for value in values)) for bound, _ in buckets]
    assert buckets[-1] == (float("inf"), len(values))
    assert [one.value for one in metric.samples if one.name.endswith("_count")] == [len(values)]
    assert sum_of(metric) == pytest.approx(sum(values))


# -- the totals of several processes --------------------------------------------------------------------------------


def test_totals_read_back_are_those_written_down() -> None:
    meter = Meter()
    meter.ran(claimed(queued_at=NOW - 7), None, NOW + 3)
    meter.removed(5)
    written = of(meter)
    assert Totals.of(json.loads(json.dumps(written.value()))) == written


def test_what_another_version_counted_is_left_out_where_it_is_not_known() -> None:
    value = of(Meter()).value()
    value["counters"] += [["outlast_of_tomorrow_total", 1], ["outlast_leases_lost_total", "by type", 1]]
    value["histograms"] += [["outlast_wait_seconds", "report", [1, 2, 3], 4.0], ["outlast_else", [1], 1.0]]
    assert Totals.of(value) == of(Meter())


def test_each_process_has_its_own_counters() -> None:
    one, other = Meter(), Meter()
    one.removed(1)
    other.removed(2)
    found = parsed(samples([of(one, "a:1:00"), of(other, "b:1:00")]))["outlast_jobs_removed"].samples
    assert {sample.labels["process"]: sample.value for sample in found} == {"a:1:00": 1, "b:1:00": 2}
    assert one.id != other.id


def test_happenings_are_counted_from_nought() -> None:
    observe = Observe()
    before = parsed(samples([observe.totals("here")]))
    assert [one.value for one in before["outlast_workers_died"].samples] == [0]
    observe("worker.died", worker="worker_1")
    after = parsed(samples([observe.totals("here")]))
    assert [one.value for one in after["outlast_workers_died"].samples] == [1]


# -- the page -------------------------------------------------------------------------------------------------------


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029")))
def test_any_text_in_a_label_comes_back_as_it_was(text: str) -> None:
    [jobs] = parsed([("outlast_jobs", (text, "queued"), 1)]).values()
    [sample] = jobs.samples
    assert sample.labels == {"type": text, "status": "queued"}


def test_a_label_is_escaped_as_the_format_says() -> None:
    assert page([("outlast_jobs", ('a\\b"c\nd', "queued"), 1)]).splitlines()[-1] == (
        'outlast_jobs{type="a\\\\b\\"c\\nd",status="queued"} 1'
    )


def test_each_metric_is_told_once_with_its_form_and_its_help() -> None:
    found: list[Sample] = [("outlast_oldest_due_seconds", (), 1.5), ("outlast_jobs", ("a", "queued"), 1)]
    text = page([*found, ("outlast_jobs", ("a", "failed"), 2)])
    assert text.count("# TYPE outlast_jobs gauge\n") == 1
    assert text.index("outlast_jobs") < text.index("outlast_oldest_due_seconds")
    assert text.endswith("outlast_oldest_due_seconds 1.5\n")


def test_names_are_as_prometheus_wants_them() -> None:
    for name, family in FAMILIES.items():
        assert name.startswith("outlast_")
        assert name.endswith("_total") == (family.form == "counter"), name
        assert bool(family.bounds) == (family.form == "histogram"), name
        assert list(family.bounds) == sorted(set(family.bounds)), name
        assert "le" not in family.labels
        assert "\n" not in family.help and family.help.endswith(".")


def test_the_page_on_operating_tells_each_metric_with_its_form_and_labels() -> None:
    docs = (Path(__file__).parent.parent / "docs" / "operating.md").read_text("utf-8")
    rows = re.findall(r"^\| `(outlast_\w+)` \| (\w+) \| ([^|]*) \| ([^|]*) \|$", docs, re.MULTILINE)
    told = {name: (form, tuple(re.findall(r"`(\w+)`", labels)), help) for name, form, labels, help in rows}
    assert told == {name: (family.form, family.labels, family.help) for name, family in FAMILIES.items()}
