"""What is refused as JSON, where, how fast; and that the rest is read as the standard library reads it."""

import json
from time import process_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outlast.web.strict_json import Refused, read, read_members

REFUSED = {
    "nothing": ("", "empty_body"),
    "space alone": (" \n\t", "empty_body"),
    "a word": ("hello", "invalid_json"),
    "single quotes": ("{'a': 1}", "invalid_json"),
    "a comma too many": ('{"a": 1,}', "invalid_json"),
    "a key without quotes": ("{a: 1}", "invalid_json"),
    "a text that breaks off": ('{"a": [1, 2', "invalid_json"),
    "a string that breaks off": ('{"a": "b', "invalid_json"),
    "a lone backslash at the end": ('{"a": "\\', "invalid_json"),
    "two values": ('{"a": 1} {"b": 2}', "invalid_json"),
    "a bare control character": ('{"a": "\x01"}', "invalid_json"),
    "a leading zero": ('{"a": 01}', "invalid_json"),
    "closing brackets alone": ("]" * 200, "invalid_json"),
    "NaN": ('{"a": NaN}', "invalid_json"),
    "Infinity": ('{"a": [Infinity]}', "invalid_json"),
    "-Infinity": ('{"a": -Infinity}', "invalid_json"),
    "depth 65": ("[" * 65 + "]" * 65, "too_deep"),
    "a mixed depth of 66": ('{"a":[' * 33 + "]}" * 33, "too_deep"),
    "5,000 digits": ('{"a": ' + "1" * 5000 + "}", "number_range"),
    "2 to the 53": ('{"a": 9007199254740992}', "number_range"),
    "minus 2 to the 53": ('{"a": -9007199254740992}', "number_range"),
    "1e400": ('{"a": 1e400}', "number_range"),
    "-1e400": ('{"a": -1e400}', "number_range"),
    "a key twice": ('{"a": 1, "a": 2}', "duplicate_key"),
    "a key twice further in": ('{"p": [{"a": 1, "b": 2, "a": 3}]}', "duplicate_key"),
    "a key twice, once escaped": ('{"a": 1, "\\u0061": 2}', "duplicate_key"),
    "NUL": ('{"a": "\\u0000"}', "nul_character"),
    "NUL in a key": ('{"\\u0000": 1}', "nul_character"),
    "a high surrogate alone": ('{"a": "\\ud800"}', "lone_surrogate"),
    "a low surrogate alone": ('{"a": "\\udc00 "}', "lone_surrogate"),
    "a low one after a pair": ('{"a": "\\ud83d\\ude00\\ude00"}', "lone_surrogate"),
    "a low one after an escaped backslash": ('{"a": "\\\\ud83d\\ude00"}', "lone_surrogate"),
    "100,001 values": ("[" + "1," * 100_000 + "1]", "too_many_members"),
    "100,001 empty lists": ("[" + "[]," * 100_000 + "[]]", "too_many_members"),
}


@pytest.mark.parametrize(("text", "code"), REFUSED.values(), ids=REFUSED)
def test_what_one_of_us_could_not_hold_is_refused(text: str, code: str) -> None:
    with pytest.raises(Refused) as refused:
        read(text)
    assert refused.value.code == code
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ('{\n  "a": 1,\n  b: 2\n}', 3, 3),
        ('{"a": "NaN",\n "b": NaN}', 2, 7),
        ('["9007199254740992", 0.9007199254740992, 9007199254740992]', 1, 42),
        ('["1e400",\n\n1e400]', 3, 1),
        ("[\n" + "[" * 64 + "]" * 65, 2, 64),
        ('{"a": "fine \\ud83d\\ude00 \\u0000"}', 1, 26),
    ],
)
def test_the_place_of_what_is_wrong_is_told(text: str, line: int, column: int) -> None:
    with pytest.raises(Refused) as refused:
        read(text)
    assert (refused.value.line, refused.value.column) == (line, column)


@pytest.mark.parametrize("text", ["[1]", '"a"', "null", "3"])
def test_a_body_that_is_no_object_is_told_apart_from_one_that_is_no_json(text: str) -> None:
    with pytest.raises(Refused) as refused:
        read_members(text)
    assert refused.value.code == "body_must_be_object"


@pytest.mark.parametrize(
    "text",
    [
        "[" * 64 + "]" * 64,
        "[" + ",".join(["1"] * 100_000) + "]",
        "[9007199254740991, -9007199254740991, 1e308, 5e-324, -0.0, 0]",
        r'{"a": "\\u0000 \\ud800 \ud83d\ude00 \"[[[{{{"}',
        ' {"" : {} , "b" : [ ] } ',
        '["[[[[", "]]", "\\\\", "\\"["]',
    ],
)
def test_what_is_within_the_limits_is_read(text: str) -> None:
    assert read(text) == json.loads(text)


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
NUMBER = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
VALUE: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(VALUE, st.booleans(), st.sampled_from([None, 1]))
def test_every_value_is_read_back_as_it_was_written(value: Any, ascii: bool, indent: int | None) -> None:
    assert read(json.dumps(value, ensure_ascii=ascii, indent=indent)) == value


@given(st.dictionaries(TEXT, VALUE), st.booleans(), st.sampled_from([None, 1]))
def test_each_member_keeps_its_own_piece_of_the_text(members: dict[str, Any], ascii: bool, indent: int | None) -> None:
    text = json.dumps(members, ensure_ascii=ascii, indent=indent)
    found = read_members(text)
    assert found.values == members
    assert {name: json.loads(source) for name, source in found.sources.items()} == members
    assert all(source in text for source in found.sources.values())


@given(st.text(alphabet='{}[]",:\\u0dD8c1eE+-. \ntrfalsn'))
def test_no_text_is_read_that_the_standard_library_refuses(text: str) -> None:
    try:
        value = read(text)
    except Refused:
        return
    assert json.loads(text) == value


BOMBS = {
    "deep": "[" * 1_000_000,
    "deep and closed": "[" * 500_000 + "]" * 500_000,
    "digits": "[" + "1" * 1_000_000 + "]",
    "digits of an exponent": "[1e" + "1" * 1_000_000 + "]",
    "digits of a fraction": "[0." + "1" * 1_000_000 + "]",
    "members": "[" + "1," * 500_000 + "1]",
    "keys": "{" + '"a":1,' * 160_000 + '"a":1}',
    "quotes": '{"a":' + '"' * 1_000_000,
    "backslashes": '{"a":"' + "\\" * 1_000_000,
    "surrogates": '{"a":"' + "\\ud83d\\ude00" * 80_000 + '\\ud800"}',
}


@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS)
def test_a_bomb_of_a_megabyte_costs_milliseconds(text: str) -> None:
    assert min(seconds_to_read(text) for _ in range(5)) < 0.05


def test_a_megabyte_of_speech_costs_milliseconds() -> None:
    speech = 'She said: "It takes too long", and paused.\n' * 24_000
    assert min(seconds_to_read(json.dumps({"type": "x", "payload": {"transcript": speech}})) for _ in range(5)) < 0.02


def seconds_to_read(text: str) -> float:
    began = process_time()
    try:
        read_members(text)
    except Refused:
        pass
    return process_time() - began
