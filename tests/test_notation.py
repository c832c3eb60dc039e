"""How ids, times and digests are written."""

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outlast.notation import JOB_ID, canonical, digest, job_id, rfc3339

MILLISECONDS = st.integers(0, 253_402_300_799_999)  # up to the end of the year 9999
PLAIN_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
)


@given(milliseconds=MILLISECONDS, entropy=st.binary(min_size=12, max_size=12))
def test_a_job_id_is_job_and_29_characters_that_nobody_misreads(milliseconds: int, entropy: bytes) -> None:
    id = job_id(milliseconds / 1000, entropy)
    assert re.fullmatch(JOB_ID, id)
    assert not set("ILOU") & set(id)


@given(
    earlier=st.integers(0, 10**13),
    gap=st.integers(2, 10**9),
    entropies=st.tuples(st.binary(min_size=12, max_size=12), st.binary(min_size=12, max_size=12)),
)
def test_ids_sort_by_their_time(earlier: int, gap: int, entropies: tuple[bytes, bytes]) -> None:
    assert job_id(earlier / 1000, entropies[0]) < job_id((earlier + gap) / 1000, entropies[1])


@given(entropies=st.lists(st.binary(min_size=12, max_size=12), min_size=2, max_size=2))
def test_ids_of_one_moment_differ_as_their_chance_does_and_sort_like_it(entropies: list[bytes]) -> None:
    ids = [job_id(1_800_000_000.0, entropy) for entropy in entropies]
    assert (ids[0] < ids[1], ids[0] == ids[1]) == (entropies[0] < entropies[1], entropies[0] == entropies[1])


@pytest.mark.parametrize("entropy", [b"", b"x" * 11, b"x" * 13])
def test_a_job_id_takes_exactly_96_random_bits(entropy: bytes) -> None:
    with pytest.raises(ValueError, match="12 random bytes"):
        job_id(0.0, entropy)


@given(milliseconds=MILLISECONDS)
def test_a_time_is_written_in_utc_to_the_millisecond(milliseconds: int) -> None:
    written = rfc3339(milliseconds / 1000)
    assert written is not None
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", written)
    read = datetime.fromisoformat(written) - datetime(1970, 1, 1, tzinfo=UTC)
    assert round(read.total_seconds() * 1000) == milliseconds


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (None, None),
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1_795_341_600.0, "2026-11-22T10:00:00.000Z"),
        (1_795_341_601.204, "2026-11-22T10:00:01.204Z"),
        (1_795_341_600.9996, "2026-11-22T10:00:01.000Z"),
    ],
)
def test_times_read_as_people_expect(seconds: float | None, written: str | None) -> None:
    assert rfc3339(seconds) == written


def test_canonical_json_has_sorted_keys_and_no_spaces() -> None:
    value = {"b": [1, {"d": None, "c": 1.5}], "a": "é 😀 \u2028", "B": (True,), "10": 1, "9": 2}
    assert canonical(value) == '{"10":1,"9":2,"B":[true],"a":"é 😀 \u2028","b":[1,{"c":1.5,"d":null}]}'


@given(value=st.dictionaries(st.text(st.characters(codec="utf-8")), PLAIN_JSON, max_size=5))
def test_the_order_of_keys_does_not_change_a_digest(value: dict[str, object]) -> None:
    assert digest(value) == digest(dict(reversed(value.items())))


def test_a_digest_tells_values_apart() -> None:
    values = [1, 1.5, "1", [1], {"1": 1}, None, True, "", [], {}, [[]], {"a": 1}, {"a": "1"}, {"a": [1]}]
    assert len({digest(value) for value in values}) == len(values)
    assert all(re.fullmatch("[0-9a-f]{64}", digest(value)) for value in values)
