"""What all tests share: asyncio, no test that passes in CI by being skipped, and the list of proven engines."""

import os
from collections import Counter
from collections.abc import Generator
from typing import Any, TypeVar

import pytest
from hypothesis import settings

# What CI's machine can never have. A skip whose reason begins with one of these is let pass there too.
SKIPS_ALLOWED_IN_CI = ("only on macOS", "only on Windows")

# The store contract is a test suite that ships with the package; its asserts shall explain themselves too.
pytest.register_assert_rewrite("outlast.testing")

# A shared machine may stall for longer than Hypothesis's deadline allows one example; pytest-timeout watches instead.
settings.register_profile("outlast", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("outlast")

PROVEN = "proven on"
"""The property of a test of the store contract that says on what it ran."""

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return fail_in_ci_if_skipped((yield))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return fail_in_ci_if_skipped((yield))


def fail_in_ci_if_skipped(report: Report) -> Report:
    """A server or browser that is missing skips at home; in CI it must be there. An expected failure is no skip."""
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        reason = skip_reason(report)
        if not reason.startswith(SKIPS_ALLOWED_IN_CI):
            report.outcome = "failed"
            report.longrepr = f"Skipped, which fails in CI: {reason}"
    return report


def skip_reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """pytest keeps a skip as (file, line, "Skipped: <reason>")."""
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return reason.removeprefix("Skipped: ")


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """Tests feed in text that no UTF-8 can hold; a report that quotes it must still reach xdist's other process."""
    return encodable((yield))


def encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {encodable(key): encodable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(encodable(item) for item in value)
    return value


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    proven = Counter(
        str(engine)
        for report in terminalreporter.stats.get("passed", [])
        for name, engine in report.user_properties
        if name == PROVEN and report.when == "call"
    )
    if proven:
        terminalreporter.section("the store contract is proven on")
    for engine, tests in sorted(proven.items()):
        terminalreporter.write_line(f"{engine}: {tests} tests")
