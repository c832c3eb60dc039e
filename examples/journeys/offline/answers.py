"""The rules as a model: a prompt comes in, the object that was asked for goes out."""

import re

from pydantic import BaseModel

from examples.journeys.offline.describing import describe
from examples.journeys.offline.phases import outline
from examples.journeys.offline.text import is_english, read_turns
from outlast import Fail

PARTICIPANT = re.compile(r"^The participant is (.+?)\.(?: The phase: (.+))?$", re.MULTILINE)
ATTENTION = re.compile(r"^Pay special attention to: (.+)$", re.MULTILINE)


def answer(wanted: str, prompt: str) -> BaseModel:
    """An `outline` or a `phase`, found in the turns of the prompt and nowhere else."""
    asked, _, _ = prompt.partition("<turns>")
    about, attention, turns = PARTICIPANT.search(asked), ATTENTION.search(asked), read_turns(prompt)
    participant, name = about.groups("") if about else ("", "")
    if not is_english(" ".join(turn.text for turn in turns)):
        raise Fail(
            "The offline model reads English only, and this transcript is not in English.",
            code="provider_error",
            advice="Set OUTLAST_MODEL or a vendor's key, such as ANTHROPIC_API_KEY or OPENAI_API_KEY.",
        )
    if wanted == "outline":
        return outline(turns, participant)
    return describe(name, turns, participant, attention[1] if attention else "")
