"""JSON as every store and every client can hold it: RFC 8259, less what one of them would bend or refuse.

Refused, each with its own code and with line and column: nesting beyond 64, more than 100,000 members, a key twice in
one object, whole numbers beyond ±(2^53-1), numbers beyond a float, NaN and Infinity, `\\u0000`, lone surrogates.

Fast, because little here runs once per value: the standard library's parser does the reading, its hooks see to numbers
and keys, and a few scans of the whole text to what it would let pass or choke on. A position is looked for only once
something is refused.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

MAX_DEPTH = 64
MAX_MEMBERS = 100_000
MAX_WHOLE = 2**53 - 1

# Possessive, so that no text makes them go back and try again.
STRING = r'"(?:[^"\\]++|\\.)*+"'
BRACKETS = re.compile(rf"{STRING}|[\[\]{{}}]", re.DOTALL)
NO_BRACKET = re.compile(r"[^\[\]]++")
SPACE = re.compile(r"[ \t\n\r]*+")
PAIR = r"u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
ODD_ESCAPE = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
GOOD_ESCAPES = re.compile(rf"(?:[^\\]++|\\(?:{PAIR}|[^u]|u(?!0000|[dD][89a-fA-F])))*+", re.DOTALL)

BARE = str.maketrans("", "", " \t\n\r")
AS_SQUARE = str.maketrans("{}", "[]")


class Refused(ValueError):
    """The text is not JSON, or not JSON that everybody can hold. `line` and `column` count from 1."""

    def __init__(self, code: str, detail: str, text: str = "", position: int | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.line = None if position is None else text.count("\n", 0, position) + 1
        self.column = None if position is None else position - text.rfind("\n", 0, position)


class Members(NamedTuple):
    """The members of an object, and each one's own piece of the text, exactly as it was written."""

    values: Mapping[str, Any]
    sources: Mapping[str, str]


def read(text: str) -> Any:
    """The value the text stands for. Raises Refused."""
    _scan(text)
    try:
        return _decoder(text).decode(text)
    except json.JSONDecodeError as error:
        _refuse_syntax(error)


def read_members(text: str) -> Members:
    """The members of the object the text stands for. Raises Refused."""
    _scan(text)
    if not text.lstrip(" \t\n\r").startswith("{"):
        _decode_other(text)
    try:
        return _members(text)
    except json.JSONDecodeError as error:
        _refuse_syntax(error)


def elements(source: str) -> list[str]:
    """The elements of a list, each exactly as it was written; `source` is a piece of a text that was read."""
    decoder, found = json.JSONDecoder(), list[str]()
    at = _after(source, _after(source, 0), "[")
    while source[at] != "]":
        _, end = decoder.raw_decode(source, at)
        found.append(source[at:end])
        at = _after(source, end)
        if source[at] == ",":
            at = _after(source, at, ",")
    return found


# -- what the parser would let pass, or choke on --------------------------------------------------------------------


def _scan(text: str) -> None:
    if not text.strip(" \t\n\r"):
        raise Refused("empty_body", "the body is empty; send a JSON value")
    outline = _outline(text)
    if outline.count(",") + outline.count("[") - outline.count("[]") > MAX_MEMBERS:
        raise Refused("too_many_members", f"objects and lists hold more than {MAX_MEMBERS:,} values; send fewer")
    if _depth(outline) > MAX_DEPTH:
        detail = f"objects and lists are nested more than {MAX_DEPTH} deep"
        raise Refused("too_deep", detail, text, _first_too_deep(text))
    if ODD_ESCAPE.search(text):
        _scan_escapes(text)


def _outline(text: str) -> str:
    """What remains without space and without what stands in strings, all brackets made square."""
    outside_strings = text.replace("\\\\", "").replace('\\"', "").split('"')[::2]
    return "s".join(outside_strings).translate(BARE).translate(AS_SQUARE)


def _depth(outline: str) -> int:
    """How deep brackets are nested, as far as it matters; each that is never closed counts as one."""
    brackets = NO_BRACKET.sub("", outline)
    if "[" * (MAX_DEPTH + 1) in brackets:
        return MAX_DEPTH + 1
    for depth in range(MAX_DEPTH + 1):
        outer = brackets.replace("[]", "")
        if len(outer) == len(brackets):
            return depth + brackets.count("[")
        brackets = outer
    return MAX_DEPTH + 1


def _first_too_deep(text: str) -> int:
    depth = 0
    for found in BRACKETS.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(found[0], 0)
        if depth > MAX_DEPTH:
            return found.start()
    return 0


def _scan_escapes(text: str) -> None:
    good = GOOD_ESCAPES.match(text)
    position = good.end() if good else 0
    if text.startswith("\\u0000", position):
        detail = "a string holds the character NUL (\\u0000), which not every store can keep"
        raise Refused("nul_character", detail, text, position)
    if text.startswith("\\u", position):
        detail = "a string holds half of a surrogate pair, which is no character"
        raise Refused("lone_surrogate", detail, text, position)


# -- the parser and its hooks ---------------------------------------------------------------------------------------


def _decoder(text: str) -> json.JSONDecoder:
    def whole(literal: str) -> int:
        if len(literal) > len(str(-MAX_WHOLE)) or abs(int(literal)) > MAX_WHOLE:
            detail = f"the whole number {_short(literal)} is beyond ±(2^53-1); send it as a string"
            raise Refused("number_range", detail, text, _first_outside_strings(text, literal))
        return int(literal)

    def real(literal: str) -> float:
        value = float(literal)
        if value in (float("inf"), float("-inf")):
            detail = f"the number {_short(literal)} is greater than any float; send it as a string"
            raise Refused("number_range", detail, text, _first_outside_strings(text, literal))
        return value

    def constant(name: str) -> NoReturn:
        detail = f"not JSON: {name} is no JSON number; send null or a string"
        raise Refused("invalid_json", detail, text, _first_outside_strings(text, name))

    return json.JSONDecoder(object_pairs_hook=_unique, parse_int=whole, parse_float=real, parse_constant=constant)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise Refused("duplicate_key", f"the key {_short(twice)} stands twice in one object")
    return made


def _members(text: str) -> Members:
    """The object's members, read one by one so that each keeps its piece of the text."""
    decoder = _decoder(text)
    values, sources = [], {}
    at = _after(text, _after(text, 0), "{")
    while text[at : at + 1] != "}":
        key, at = decoder.raw_decode(text, _must_be(text, at, '"'))
        start = _after(text, _after(text, at), ":")
        value, end = decoder.raw_decode(text, start)
        values.append((key, value))
        sources[key] = text[start:end]
        at = _after(text, end)
        if text[at : at + 1] != "}":
            at = _must_be(text, _after(text, at, ","), '"')
    if _after(text, at + 1) < len(text):
        raise json.JSONDecodeError("Extra data", text, _after(text, at + 1))
    return Members(_unique(values), sources)


def _after(text: str, at: int, mark: str = "") -> int:
    """The place behind the mark and the space that follows it."""
    found = SPACE.match(text, _must_be(text, at, mark) + len(mark))
    return found.end() if found else at


def _must_be(text: str, at: int, mark: str) -> int:
    if not text.startswith(mark, at):
        raise json.JSONDecodeError(f"Expecting {mark!r}", text, at)
    return at


def _decode_other(text: str) -> NoReturn:
    read(text)
    raise Refused("body_must_be_object", 'the body must be a JSON object, such as {"type": "..."}')


def _refuse_syntax(error: json.JSONDecodeError) -> NoReturn:
    raise Refused("invalid_json", f"not JSON: {error.msg}", error.doc, error.pos) from None


def _first_outside_strings(text: str, literal: str) -> int:
    """Where the literal first stands as a token of its own; it does, for the parser came by it."""
    token = rf"(?<![\w.+-]){re.escape(literal[:400])}"
    others = rf'(?:{STRING}|[^"{re.escape(literal[0])}]++|(?!{token})[^"])*+'
    found = re.compile(others, re.DOTALL).match(text)
    return found.end() if found else 0


def _short(text: str) -> str:
    """At most 64 characters of it, and only such as show as they are."""
    escaped = ascii(text)
    return escaped if len(escaped) <= 64 else escaped[:60] + "...'"
