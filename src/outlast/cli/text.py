"""Text from elsewhere on its way to a terminal: nothing in it may steer the terminal or turn what stands around it."""

import json
import re
import sys

STEERING = (
    r"\x00-\x1f\x7f-\x9f"  # control characters, the beginning of every escape sequence among them
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # bidi: they reorder what stands around them
    r"\u180e\u200b\u2028\u2029\u2060-\u2065\u206a-\u206f\ufeff\ufff9-\ufffb"  # lines and marks that nobody sees
    r"\ud800-\udfff\U000e0000-\U000e007f"
)
ONE_LINE = re.compile(f"[{STEERING}]")
LINES = re.compile(rf"(?![\n\t])[{STEERING}]")


def safe(text: object, *, lines: bool = False) -> str:
    """The text with everything escaped that is not to be seen; line ends and tabs too, unless `lines`."""
    return (LINES if lines else ONE_LINE).sub(_escaped, str(text))


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def wire(text: str) -> str:
    """JSON that stays the same JSON, with everything escaped that a terminal must not see or cannot show."""
    shown = LINES.sub(_json_escaped, text)
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        shown.encode(encoding)
    except UnicodeEncodeError:
        return re.sub(r"[^\x00-\x7f]", _json_escaped, shown)
    return shown


def _json_escaped(found: re.Match[str]) -> str:
    return json.dumps(found[0])[1:-1]


def cut(text: str, length: int) -> str:
    """At most so many characters."""
    return text if len(text) <= length else text[: length - 1] + "…"
