"""The two questions that are put to the model, with pydantic-ai."""

import os
from collections.abc import Iterator

from pydantic_ai import Agent, ToolOutput
from pydantic_ai.models import Model

from examples.asking import ask
from examples.journeys import prompts
from examples.journeys.journey import Outline, Phase, Stretch
from examples.journeys.offline.answers import answer
from examples.journeys.rendering import PhaseText, outline_text
from examples.journeys.transcript import Conversation
from examples.models import Choice, choose, open_model
from examples.offline import offline_model
from outlast import Retry

MOST_PHASES = 10
LONGEST_NAME = 80


async def ask_outline(conversation: Conversation, wish: str, step: str) -> Outline:
    """Who the participant is and which phases there are. Raises Retry if the model finds none."""
    choice = choose(os.environ)
    agent = Agent(
        _model(choice), output_type=ToolOutput(Outline, name="outline"), instructions=prompts.OUTLINE, name="outline"
    )
    outline = await ask(agent, prompts.outline_prompt(conversation, wish), choice, step, outline_text)
    phases = list(covering(outline.phases, len(conversation.turns)))
    if not phases:
        raise Retry(f"{choice.name} found no phases.", code="provider_error")
    return outline.model_copy(update={"phases": phases})


async def ask_phase(conversation: Conversation, stretch: Stretch, wish: str, step: str) -> Phase:
    """What the participant did, thought and felt in one phase."""
    choice = choose(os.environ)
    agent = Agent(_model(choice), output_type=ToolOutput(Phase, name="phase"), instructions=prompts.PHASE, name="phase")
    turns = conversation.turns[stretch.first_turn - 1 : stretch.last_turn]
    question = prompts.phase_prompt(stretch.name, conversation.participant, turns, wish)
    phase = await ask(agent, question, choice, step, PhaseText(stretch.name))
    return phase.model_copy(update={"name": stretch.name})


def _model(choice: Choice) -> Model:
    return offline_model(answer) if choice.offline else open_model(choice, os.environ)


def covering(stretches: list[Stretch], turns: int) -> Iterator[Stretch]:
    """The same phases in order and under different names, each up to where the next begins, so that no turn is lost."""
    starts = {max(1, min(stretch.first_turn, turns)): stretch for stretch in reversed(stretches)}
    ordered = sorted(starts)[:MOST_PHASES]
    names: set[str] = set()
    for place, start in enumerate(ordered):
        name = " ".join(starts[start].name.split())[:LONGEST_NAME] or f"Phase {place + 1}"
        name = name if name not in names else f"{name} ({place + 1})"
        names.add(name)
        end = ordered[place + 1] - 1 if place + 1 < len(ordered) else turns
        yield Stretch(name=name, first_turn=1 if place == 0 else start, last_turn=end)
