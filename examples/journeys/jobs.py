"""The handler: from a transcript to a journey, with one remembered step for each call of the model."""

import asyncio
import os
from collections import Counter
from importlib import import_module

from examples.app import app
from examples.journeys.journey import Journey, Outline, Phase, Stretch
from examples.journeys.quotes import Transcript, check_quotes
from examples.journeys.transcript import Conversation, read_transcript
from examples.models import choose
from outlast import Context

READING, FINDING, CHECKING = "Reading the transcript", "Finding the phases", "Checking the quotes"


@app.handler(timeout="15m", retries=3, steps=[READING, FINDING, CHECKING])
async def transcript_to_journey(ctx: Context, transcript: str, prompt: str = "") -> Journey:
    """The user journey that an interview transcript tells; `prompt` says what to pay special attention to."""
    choice = choose(os.environ)
    conversation = await ctx.step(READING, read, transcript)
    ctx.progress(5, FINDING)
    outline = await ctx.step(FINDING, find_phases, conversation, prompt)
    phases = []
    for done, stretch in enumerate(outline.phases):
        ctx.progress(15 + 80 * done // len(outline.phases), stretch.name)
        phases.append(await ctx.step(f"Describing {stretch.name}", describe_phase, conversation, stretch, prompt))
    ctx.progress(95, CHECKING)
    phases = await ctx.step(CHECKING, keep_true_quotes, transcript, phases)
    return Journey(
        title=outline.title, persona=outline.persona, phases=phases, model=choice.name, offline=choice.offline
    )


def read(transcript: str) -> Conversation:
    return read_transcript(transcript)


async def find_phases(conversation: Conversation, prompt: str) -> Outline:
    await _load_agents()
    from examples.journeys.agents import ask_outline

    return await ask_outline(conversation, prompt, FINDING)


async def describe_phase(conversation: Conversation, stretch: Stretch, prompt: str) -> Phase:
    await _load_agents()
    from examples.journeys.agents import ask_phase

    return await ask_phase(conversation, stretch, prompt, f"Describing {stretch.name}")


async def _load_agents() -> None:
    # pydantic-ai takes a second to import: not at the start of the server, and not on its event loop.
    await asyncio.to_thread(import_module, "examples.journeys.agents")


def keep_true_quotes(transcript: str, phases: list[Phase]) -> list[Phase]:
    """The phases with those quotes alone that were really said, in the transcript's own words."""
    said, seen, verdicts = Transcript(transcript), set[str](), Counter[str]()
    kept = []
    for phase in phases:
        checked = check_quotes(said, phase.quotes, seen)
        verdicts.update(quote.verdict for quote in checked)
        kept.append(phase.model_copy(update={"quotes": [quote.text for quote in checked if quote.text]}))
    if ctx := Context.current():
        ctx.log(
            f"Quotes: {verdicts['found']} found word for word, {verdicts['mended']} mended to the exact words, "
            f"{verdicts['dropped']} dropped"
        )
    return kept
