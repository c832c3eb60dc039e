"""docs/own-store.md: its small store is whole, and keeps the contract."""

import re
import subprocess
import sys
from pathlib import Path

from tests.test_docs import ROOT, Session, blocks

PAGE = ROOT / "docs" / "own-store.md"


def test_the_store_of_the_page_keeps_the_contract(tmp_path: Path) -> None:
    with Session(tmp_path, Path(sys.executable)) as session:
        session.follow_page(PAGE)
    [command] = [block.text.strip() for block in blocks(PAGE) if block.language == "sh"]
    done = subprocess.run(
        [sys.executable, "-m", *command.split(), "-p", "no:cacheprovider"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed, done.stdout
    assert int(passed[1]) > 150, "the contract is what ran"


def test_a_second_process_is_refused_and_what_was_written_is_there_again(tmp_path: Path) -> None:
    with Session(tmp_path, Path(sys.executable)) as session:
        session.follow_page(PAGE)
    code = """
import asyncio
from pathlib import Path
from json_store import JsonStore
from outlast import Context, Outlast
from outlast.errors import StoreRefused

async def main():
    async with Outlast(JsonStore(Path("jobs.json"))) as app:
        @app.handler
        async def greet(ctx: Context, name: str) -> str:
            return f"Hello {name}"
        try:
            await JsonStore(Path("jobs.json")).open()
        except StoreRefused as error:
            print("refused:", error)
        async with app.working():
            job = await app.wait(await greet.submit(name="Ada"), 10)
    async with Outlast(JsonStore(Path("jobs.json"))) as app:
        print((await app.get(job)).result_json)

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == 'refused: another process has jobs.json open\n"Hello Ada"\n', done.stderr
