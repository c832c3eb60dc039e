"""The two transcripts, and what the offline model makes of them."""

from pathlib import Path

from examples.journeys import transcript
from examples.journeys.journey import Journey, Outline, Phase
from examples.journeys.offline.answers import answer
from examples.journeys.prompts import outline_prompt, phase_prompt

TRANSCRIPTS = Path(transcript.__file__).parent / "transcripts"
ELECTRICITY = (TRANSCRIPTS / "electricity.txt").read_text(encoding="utf-8")
PHYSIOTHERAPY = (TRANSCRIPTS / "physiotherapy.txt").read_text(encoding="utf-8")


def offline_journey(text: str, wish: str = "") -> Journey:
    """What the offline model makes of a transcript, asked directly."""
    conversation = transcript.read_transcript(text)
    outline = answer("outline", outline_prompt(conversation, wish))
    assert isinstance(outline, Outline)
    phases = []
    for stretch in outline.phases:
        turns = conversation.turns[stretch.first_turn - 1 : stretch.last_turn]
        phase = answer("phase", phase_prompt(stretch.name, conversation.participant, turns, wish))
        assert isinstance(phase, Phase)
        phases.append(phase)
    return Journey(title=outline.title, persona=outline.persona, phases=phases, model="m", offline=True)


def quotes(journey: Journey) -> list[str]:
    return [quote for phase in journey.phases for quote in phase.quotes]
