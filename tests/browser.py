"""A real browser, where there is one."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Page, async_playwright

QUIET = (
    "--disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update"
    " --disable-sync"
).split()


@asynccontextmanager
async def browsing(url: str) -> AsyncIterator[Page]:
    """A page in Chromium, in which no script may fail; without a browser the test is skipped."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no browser: ./dev setup installs one")
    async with async_playwright() as playwright:
        # Chromium refuses to run in its sandbox as root.
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        chromium = await playwright.chromium.launch(executable_path=browser, args=QUIET + sandbox)
        try:
            page = await chromium.new_page()
            page.set_default_timeout(60_000)
            errors: list[str] = []
            page.on("pageerror", lambda error: errors.append(str(error)))
            await page.goto(url)
            yield page
            assert errors == []
        finally:
            await chromium.close()
