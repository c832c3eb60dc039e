"""What a value was dumped to, and the order of its sets."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel, ConfigDict, Field, RootModel, field_serializer
from pydantic_core import to_jsonable_python

from outlast.codec import in_order


class Brief(BaseModel):
    model_config = ConfigDict(extra="allow")

    words: frozenset[int]
    hidden: frozenset[int] = Field(default=frozenset({8, 0}), exclude=True)
    joined: set[int] = set()
    renamed: set[int] = Field(default=set(), serialization_alias="other")

    @field_serializer("joined")
    def _join(self, joined: set[int]) -> str:
        return ",".join(map(str, sorted(joined)))

    @cached_property
    def longest(self) -> set[int]:
        return {8, 0}


class Words(RootModel[list[set[int]]]): ...


@dataclass(frozen=True)
class Order:
    kinds: ClassVar[set[Any]] = {print}
    briefs: list[Brief] = field(default_factory=list)


def ordered(value: Any) -> Any:
    return in_order(value, to_jsonable_python(value, by_alias=True))


ONE, OTHER = [{0, 8}, {8, 0}]
"""Equal, and in another order, as sets of text are in two processes."""


def test_the_two_sets_of_these_tests_come_in_another_order() -> None:
    assert (ONE, list(ONE)) != (OTHER, list(OTHER))


@pytest.mark.parametrize(
    ("made", "data"),
    [
        (lambda words: words, [0, 8]),
        (lambda words: ({"a": [words]}, 1), [{"a": [[0, 8]]}, 1]),
        (lambda words: {frozenset(words)}, [[0, 8]]),
        (lambda words: Brief(words={1}, more=[words]), {"words": [1], "joined": "", "other": [], "more": [[0, 8]]}),
        (lambda words: Brief(words={1}, joined=words), {"words": [1], "joined": "0,8", "other": []}),
        (lambda words: Brief(words={1}, renamed=words), {"words": [1], "joined": "", "other": [0, 8]}),
        (lambda words: Order([Brief(words=words)]), {"briefs": [{"words": [0, 8], "joined": "", "other": []}]}),
        (lambda words: Words([words]), [[0, 8]]),
    ],
    ids=["bare", "containers", "a set", "an extra", "written in its own way", "by its alias", "a dataclass", "a root"],
)
def test_a_set_stands_in_one_order_wherever_it_is(made: Any, data: Any) -> None:
    assert ordered(made(ONE)) == ordered(made(OTHER)) == data


def test_what_is_left_out_or_kept_besides_changes_nothing() -> None:
    brief = Brief(words={1})
    before = ordered(brief)
    assert brief.longest == {0, 8}
    assert ordered(brief) == before == {"words": [1], "joined": "", "other": []}


def test_data_without_sets_is_as_it_was_dumped() -> None:
    value = {"a": [1, {"b": (2, 3)}], 1: "x", "1": "y"}
    assert ordered(value) == to_jsonable_python(value)
