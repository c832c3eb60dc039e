"""What cannot be meant is refused where it is written, with the word that is wrong and what would be right."""

from pathlib import Path
from typing import Any

import pytest

from outlast import ConfigurationError, Context, Outlast


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"timeout": "15 minutes"}, "timeout: a duration is written like 90s"),
        ({"timeout": -1}, "timeout: a duration is a finite number"),
        ({"timeout": 0}, "timeout: more than 0 seconds, or None for no limit"),
        ({"deadline": []}, "deadline: a duration is a number of seconds"),
        ({"keep": None}, "keep: a duration is a number of seconds"),
        ({"keep": "40000d"}, "keep: at most 36500d"),
        ({"backoff": None}, "backoff: a duration is a number of seconds"),
        ({"backoff": ("1s",)}, "backoff is the first pause, or a pair"),
        ({"backoff": (1, None)}, "backoff: a duration is a number of seconds"),
        ({"backoff": "40000d"}, "backoff: at most 36500d"),
        ({"backoff": ("1s", "40000d")}, "backoff: at most 36500d"),
        ({"retries": None}, "retries is a whole number from 0 to 100"),
        ({"priority": ["high"]}, "priority is one of high, normal, low"),
        ({"steps": "read"}, "steps is a list of names"),
        ({"steps": [1, 2]}, "steps is a list of names"),
        ({"steps": None}, "steps is a list of names"),
        ({"max_payload": "8MB"}, "max_payload is a number of bytes, or text like 8 MiB, not '8MB'"),
        ({"max_payload": 0}, "max_payload is a number of bytes"),
        ({"max_payload": 1.5}, "max_payload is a number of bytes"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused_with_its_handler(setting: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:

        @Outlast("memory://").handler(**setting)
        async def report(ctx: Context) -> None: ...

    assert str(caught.value).startswith(f"handler 'report': {said}")


class Unknown:
    """Nothing that pydantic knows."""


@pytest.mark.parametrize(
    ("annotation", "shown"), [(Unknown, "Unknown"), (list[Unknown], "list[tests.test_registration.Unknown]")]
)
def test_a_result_that_has_no_form_in_json_is_refused_with_its_handler(annotation: Any, shown: str) -> None:
    async def report(ctx: Context) -> Any: ...

    report.__annotations__["return"] = annotation
    with pytest.raises(ConfigurationError) as caught:
        Outlast("memory://").handler(report)
    assert str(caught.value).startswith(f"the result of report is annotated as {shown}, which has no form in JSON")


def test_a_name_in_the_place_of_the_function_is_told_of_its_own_place() -> None:
    with pytest.raises(ConfigurationError, match=r"'report' is no function; .*@app.handler\(name="):
        Outlast("memory://").handler("report")  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("backoff", "pauses"),
    [("5s", (5.0, 300.0)), ("10m", (600.0, 600.0)), (("1s", "1m"), (1.0, 60.0))],
)
def test_a_first_pause_is_never_cut_by_a_longest_that_nobody_named(backoff: Any, pauses: tuple[float, float]) -> None:
    @Outlast("memory://").handler(backoff=backoff)
    async def report(ctx: Context) -> None: ...

    assert report.settings.backoff == pauses


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ({"concurrency": 0}, "concurrency is a whole number from 1 to 10000, not 0"),
        ({"concurrency": "10"}, "concurrency is a whole number"),
        ({"lease": 0}, "a lease lasts more than 0 seconds"),
        ({"grace": None}, "a duration is a number of seconds"),
        ({"store": Path("outlast.db")}, "is no store; write its URL, such as sqlite:///"),
        ({"store": 5}, "5 is no store"),
    ],
)
def test_an_argument_of_the_app_that_cannot_be_meant_is_refused(argument: dict[str, Any], said: str) -> None:
    with pytest.raises((ConfigurationError, ValueError), match=said):
        Outlast(**argument)
