"""The words of this example: a Journey and its parts, exactly as they look in JSON."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


def _within_bounds(score: float) -> float:
    return max(-1.0, min(1.0, score))


class Wire(BaseModel):
    """camelCase in JSON, snake_case in Python; every field has a default, so that half an answer can be shown."""

    model_config = ConfigDict(
        alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, serialize_by_alias=True
    )


class Emotion(Wire):
    name: str = Field(default="", description="One word, such as Frustrated or Relieved.")
    score: Annotated[float, AfterValidator(_within_bounds)] = Field(
        default=0.0, description="From -1, as bad as it gets, to 1, as good as it gets."
    )


class Phase(Wire):
    name: str = Field(default="", description="The phase you were asked to describe.")
    actions: list[str] = Field(
        default=[], description="What the participant did, each beginning with a verb in the past."
    )
    thoughts: list[str] = Field(default=[], description="What the participant thought, in the first person.")
    emotions: list[Emotion] = Field(default=[], description="One to three emotions, the strongest first.")
    pain_points: list[str] = Field(default=[], description="What went wrong or was hard.")
    opportunities: list[str] = Field(default=[], description="What would have made it better.")
    quotes: list[str] = Field(
        default=[], description="One to three sentences of the participant, copied word for word."
    )


class Journey(Wire):
    title: str
    persona: str
    phases: list[Phase]
    model: str
    offline: bool


class Stretch(Wire):
    """A phase before it is described: its name and the turns that it spans."""

    name: str = Field(default="", description="Two to five words.")
    first_turn: int = Field(default=1, description="Number of the turn with which the phase begins.")
    last_turn: int = Field(default=1, description="Number of the turn with which the phase ends.")


class Outline(Wire):
    title: str = Field(default="", description="A title for the journey, at most ten words.")
    persona: str = Field(default="", description="Who the participant is, in one or two sentences.")
    phases: list[Stretch] = Field(default=[], description="Three to eight phases in the order in which they happened.")
