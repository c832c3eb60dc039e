"""A real browser, where there is one."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser, Page, async_playwright

QUIET = (
    "--disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update"
    " --disable-sync"
).split()


@asynccontextmanager
async def browsing(url: str) -> AsyncIterator[Page]:
    """A page in a Chromium of its own."""
    async with chromium() as browser, showing(browser, url) as page:
        yield page


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Without a browser the test is skipped."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no browser: ./dev setup installs one")
    async with async_playwright() as playwright:
        # Chromium refuses to run in its sandbox as root.
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = await playwright.chromium.launch(executable_path=program, args=QUIET + sandbox)
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def showing(browser: Browser, url: str) -> AsyncIterator[Page]:
    """A page of somebody who was never here before, in which no script may fail."""
    async with await browser.new_context() as person:
        page = await person.new_page()
        page.set_default_timeout(60_000)
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        await page.goto(url)
        yield page
        assert errors == []
