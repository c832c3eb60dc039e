"""The page in a real browser: it shows the job at work, and goes on through a reload and a killed server."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from time import monotonic

import anyio
import pytest
from playwright.async_api import Browser, Page, expect

from tests.browser import chromium, showing
from tests.examples.demo_process import Demo, assert_no_finished_call_is_repeated
from tests.examples.samples import ELECTRICITY, PHYSIOTHERAPY, offline_journey

pytestmark = pytest.mark.slow


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    demo = Demo(tmp_path, pace=0.004)
    try:
        demo.start()
        yield demo
    finally:
        demo.close()


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


@pytest.fixture
async def page(browser: Browser, demo: Demo) -> AsyncIterator[Page]:
    async with showing(browser, demo.url) as page:
        yield page


async def until(page: Page, condition: str) -> None:
    """Until the condition holds in the page, whose policy forbids Playwright's own way to wait for one."""
    with anyio.fail_after(60):
        while not await page.evaluate(condition):
            await anyio.sleep(0.02)


async def import_sample(page: Page) -> str:
    await page.get_by_role("button", name="Use the sample").click()
    await expect(page.locator("#transcript")).to_have_value(ELECTRICITY)
    await page.get_by_role("button", name="Import").click()
    await until(page, "journeyPage.jobId")
    return str(await page.evaluate("journeyPage.jobId"))


async def wait_for_steps(page: Page, done: int) -> None:
    """Until so many steps are done, and the next one has written something."""
    count = "document.querySelectorAll('#steps .completed').length"
    await until(page, f"{count} >= {done} && document.querySelector('#steps .running')")
    length = await page.evaluate("journeyPage.text.length")
    await until(page, f"journeyPage.text.length > {length}")


async def assert_shown_whole(page: Page, demo: Demo, id: str) -> None:
    """The page ends as the server's own record does: every number once and in order, the text, the map."""
    await page.wait_for_selector("#result table")
    events = demo.events(id)
    assert (
        await page.evaluate("journeyPage.seqs") == [event["seq"] for event in events] == list(range(1, len(events) + 1))
    )
    assert await page.evaluate("journeyPage.text") == demo.output(id)
    assert await page.text_content("#text") == demo.output(id)
    assert await page.locator("#steps li.completed").count() == 11
    journey = offline_journey(ELECTRICITY)
    heads = await page.locator("#map thead th").all_text_contents()
    assert heads == [f"{number}{phase.name}" for number, phase in enumerate(journey.phases, 1)]
    assert await page.locator("#map q").count() == sum(len(phase.quotes) for phase in journey.phases)


async def test_the_sample_is_shown_at_work_and_then_drawn_as_a_map(page: Page, demo: Demo) -> None:
    await expect(page.locator("#model")).to_have_text("Offline model · outlast-offline")
    id = await import_sample(page)

    await expect(page.locator("#headline")).to_have_text("Starting analysis...")
    await expect(page.locator("#steps li").last).to_contain_text("Checking the quotes")
    await expect(page.locator("#headline")).to_contain_text("Processing... ")
    await wait_for_steps(page, 3)
    await expect(page.locator("#steps li.running")).to_have_count(1)
    assert 5 <= await page.locator("#progress").evaluate("bar => bar.value") < 100

    await assert_shown_whole(page, demo, id)
    await expect(page.locator("#headline")).to_have_text("Your journey is ready.")
    await expect(page.locator("#made-by")).to_have_text("Offline model · outlast-offline")
    await expect(page.locator("#logs")).to_contain_text("16 found word for word")


async def test_a_reload_in_the_middle_shows_the_same_job_further_on(page: Page, demo: Demo) -> None:
    id = await import_sample(page)
    await wait_for_steps(page, 3)
    before = str(await page.evaluate("journeyPage.text"))

    await page.reload()

    await until(page, f"journeyPage.text.length > {len(before)}")
    assert str(await page.evaluate("journeyPage.text")).startswith(before)
    assert await page.evaluate("journeyPage.jobId") == id
    await assert_shown_whole(page, demo, id)
    assert len(demo.model_calls()) == 9


async def test_the_page_goes_on_by_itself_after_a_kill_inside_a_step(page: Page, demo: Demo) -> None:
    id = await import_sample(page)
    await page.evaluate("window.notReloaded = true")
    await wait_for_steps(page, 4)

    demo.kill()
    await expect(page.locator("#line")).to_have_text("Connection lost. The job goes on; reconnecting...")
    before = len(await page.evaluate("journeyPage.seqs"))
    demo.start()
    ready = monotonic()
    await until(page, f"journeyPage.seqs.length > {before}")

    assert monotonic() - ready < 3
    await expect(page.locator("#line")).to_be_empty()
    await assert_shown_whole(page, demo, id)
    assert await page.evaluate("window.notReloaded")
    assert_no_finished_call_is_repeated(demo, id)


async def test_the_page_goes_on_by_itself_after_a_kill_between_steps(page: Page, demo: Demo) -> None:
    demo.kill()
    demo.start("tests.examples.fragile_demo", OUTLAST_TEST_DIE_AT="40")
    await page.reload()
    id = await import_sample(page)
    demo.wait_for_death()
    before = len(await page.evaluate("journeyPage.seqs"))

    demo.start()
    ready = monotonic()
    await until(page, f"journeyPage.seqs.length > {before}")

    assert monotonic() - ready < 3
    await assert_shown_whole(page, demo, id)
    assert len(demo.model_calls()) == 9, "no call was made twice"
    assert_no_finished_call_is_repeated(demo, id)


async def test_a_retry_shows_the_finished_steps_first_also_after_a_reload(page: Page, demo: Demo) -> None:
    cancelled = await import_sample(page)
    await wait_for_steps(page, 3)
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.locator("#headline")).to_have_text("Cancelled.")
    inherited = [step["name"] for step in demo.job(cancelled)["steps"] if step["status"] == "completed"]

    await page.get_by_role("button", name="Retry").click()
    await until(page, f"journeyPage.jobId && journeyPage.jobId !== '{cancelled}'")
    id = str(await page.evaluate("journeyPage.jobId"))

    for _ in range(2):
        await expect(page.locator("#steps li.running")).to_have_count(1)
        shown = [tuple(step) for step in await page.evaluate(STEPS)]
        assert shown[: len(inherited)] == [(name, "completed") for name in inherited]
        assert len(set(shown)) == len(shown), "no step is there twice"
        assert shown[-1] == ("Checking the quotes", "pending")
        await page.reload()

    await assert_shown_whole(page, demo, id)
    assert demo.job(id)["retryOf"] == cancelled


STEPS = "[...document.querySelectorAll('#steps li')].map(li => [li.querySelector('.name').textContent, li.className])"


async def test_a_text_that_is_too_short_fails_with_advice_and_is_edited(page: Page, demo: Demo) -> None:
    await page.fill("#prompt", "waiting")
    await page.fill("#transcript", "Only a few words.")
    await page.get_by_role("button", name="Import").click()

    await expect(page.locator("#headline")).to_have_text("The analysis failed.")
    await expect(page.locator("#failure-message")).to_have_text(
        "The transcript is too short to find a journey in it: 4 words."
    )
    await expect(page.locator("#failure-advice")).to_contain_text("at least 60 words")
    await expect(page.get_by_text("The analysis failed.")).to_have_count(1)
    await expect(page.get_by_role("button", name="Retry")).to_be_hidden()
    await page.reload()

    await page.get_by_role("button", name="Edit the transcript").click()
    await expect(page.locator("#transcript")).to_have_value("Only a few words.")
    await expect(page.locator("#transcript")).to_be_focused()
    await expect(page.locator("#prompt")).to_have_value("waiting")
    await expect(page.locator("#words")).to_have_text("4 words")
    await expect(page.locator("#work")).to_be_hidden()


@pytest.mark.parametrize(
    ("text", "says"), [("", "no text"), ("   ", "no text"), ("word " * 300_000, "1.5 MB, where 1 MB is the most")]
)
async def test_what_cannot_be_imported_is_refused_on_the_page(page: Page, demo: Demo, text: str, says: str) -> None:
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.method))
    await page.fill("#transcript", text)
    await page.get_by_role("button", name="Import").click()

    await expect(page.locator("#refused")).to_contain_text(says)
    assert "POST" not in sent
    await page.fill("#transcript", "Other words.")
    await expect(page.locator("#refused")).to_be_empty()


async def test_cancel_ends_the_job_and_a_new_import_begins_with_an_empty_form(page: Page, demo: Demo) -> None:
    id = await import_sample(page)
    await wait_for_steps(page, 2)

    await page.get_by_role("button", name="Cancel").click()

    await expect(page.locator("#headline")).to_have_text("Cancelled.")
    assert demo.job(id)["status"] == "cancelled"
    await page.get_by_role("button", name="New import").click()
    await expect(page.locator("#compose")).to_be_visible()
    await expect(page.locator("#work")).to_be_hidden()


async def test_a_job_that_the_server_does_not_know_is_said_so(page: Page, demo: Demo) -> None:
    await page.goto(f"{demo.url}/#job_00000000000000000000000000000")

    await expect(page.locator("#headline")).to_have_text("This server does not know the job.")
    await expect(page.locator("#facts")).to_be_empty()
    await expect(page.locator("#work .columns")).to_be_hidden()
    await expect(page.locator("#progress")).to_be_hidden()
    assert await page.locator("#work button:visible").all_text_contents() == ["New import"]


async def test_a_submit_while_the_server_is_down_makes_one_job_once_it_is_back(page: Page, demo: Demo) -> None:
    await page.fill("#transcript", PHYSIOTHERAPY)
    demo.kill()
    await page.get_by_role("button", name="Import").click()
    await expect(page.locator("#refused")).to_have_text("The server does not answer; trying again...")

    demo.start()

    await page.wait_for_selector("#result table")
    assert len({call["job"] for call in demo.model_calls()}) == 1
