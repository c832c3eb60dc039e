"""The server as a process: restarts that readers survive, stops that are quick, starts that fail in words."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic

import httpx2
import pytest

from outlast.web.server import Server, config_of, listen, url_of
from outlast.web.service import service
from tests.web.ground import Frame, make_app, numbers, stream, submit, until

ROOT = Path(__file__).parent.parent.parent


@asynccontextmanager
async def served(store: str, port: int = 0, slots: int = 10) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """A server process and its URL; killed at the end if it still runs."""
    command = [sys.executable, "-m", "tests.web.served", store, str(port), str(slots)]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            url = (await process.stdout.readline()).decode().strip()
        yield process, url
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_a_reader_misses_and_repeats_nothing_over_a_kill_and_a_restart(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/jobs.db"
    seen: list[Frame] = []
    async with served(store) as (process, url):
        port = httpx2.URL(url).port or 0
        async with httpx2.AsyncClient(base_url=url, timeout=20) as http:
            job = await submit(http, "count", to=60, pause=0.03)
            with pytest.raises(httpx2.HTTPError):
                await read_until_killed(http, job["id"], seen, process)
    async with served(store, port) as (_, url), httpx2.AsyncClient(base_url=url, timeout=20) as http:
        restarted = monotonic()
        async with stream(http, f"/jobs/{job['id']}/events", cursor=seen[-1].id) as (_, found):
            seen.append(await anext(found))
            assert monotonic() - restarted < 3
            seen += [one async for one in found]
        assert numbers(seen) == list(range(1, len(seen) + 1))
        assert seen[-1].event == "job.completed"
        output = (await http.get(f"/jobs/{job['id']}/output")).text
        assert folded(seen) == output == "".join(f"{number} " for number in range(60))
        async with stream(http, f"/jobs/{job['id']}/events", cursor=seen[-1].id) as (reply, _):
            assert reply.status_code == 204


async def read_until_killed(
    http: httpx2.AsyncClient, job_id: str, seen: list[Frame], process: asyncio.subprocess.Process
) -> None:
    async with stream(http, f"/jobs/{job_id}/events", cursor=0) as (_, found):
        async for one in found:
            seen.append(one)
            if len(seen) == 30:
                process.kill()


def folded(seen: list[Frame]) -> str:
    """What a reader of the stream holds of the text."""
    text = ""
    for one in seen:
        if one.event == "job.output.delta":
            assert one.data["offset"] == len(text)
            text += one.data["text"]
        elif one.event == "job.output.reset":
            text = text[: one.data["offset"]]
    return text


async def test_a_stop_ends_every_stream_and_wait_and_hands_the_work_back(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/jobs.db"
    async with served(store) as (process, url), httpx2.AsyncClient(base_url=url, timeout=20) as http:
        job = await submit(http, "count", to=500, pause=0.05)
        await until(http, job["id"], lambda job: job["status"] == "processing")
        idle = await submit(http, "ask", question="?")
        waiting = await until(http, idle["id"], lambda job: job["status"] == "waiting")
        async with stream(http, f"/jobs/{idle['id']}/events") as (_, found):
            await anext(found)
            wait = asyncio.create_task(http.get(f"/jobs/{idle['id']}?wait=20&since=v{waiting['version']}"))
            await asyncio.sleep(0.2)
            began = monotonic()
            process.send_signal(signal.SIGTERM)
            end = [one async for one in found]
            assert [(one.id, one.event, one.data["reason"]) for one in end] == [(None, "stream.end", "shutdown")]
            assert (await wait).status_code == 304
            assert monotonic() - began < 1
        assert await asyncio.wait_for(process.wait(), 15) == 0
        assert monotonic() - began < 5
    app = make_app(store)
    async with app:
        left = await app.get(job["id"])
    assert (left.status, left.resumes) == ("queued", True)


async def test_the_end_of_a_stream_tells_browsers_to_come_back_soon(tmp_path: Path) -> None:
    async with served("memory://") as (process, url), httpx2.AsyncClient(base_url=url, timeout=20) as http:
        job = await submit(http, "ask", question="?")
        async with http.stream("GET", job["urls"]["events"], headers={"Accept": "text/event-stream"}) as reply:
            lines = reply.aiter_lines()
            assert await anext(lines) == "retry: 2000"
            process.send_signal(signal.SIGINT)
            rest = [line async for line in lines]
        assert rest[rest.index("retry: 1000") + 1] == "event: stream.end"
        assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_a_second_signal_ends_the_process_at_once(tmp_path: Path) -> None:
    async with served("memory://") as (process, url):
        reader, writer = await asyncio.open_connection("127.0.0.1", httpx2.URL(url).port)
        writer.write(b"POST /jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n")
        await asyncio.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.5)
        assert process.returncode is None
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 2) == 130
        writer.close()
        await reader.read()


async def test_a_reply_is_not_held_back_for_more_to_come(live: httpx2.AsyncClient) -> None:
    job = await submit(live, "greet", name="Ada")
    began = monotonic()
    for _ in range(20):
        assert (await live.get(job["urls"]["self"])).status_code == 200
    assert monotonic() - began < 20 * 0.04


async def test_a_port_in_use_is_told_in_words() -> None:
    with listen("127.0.0.1", 0) as taken:
        code, error = await failed_start("memory://", taken.getsockname()[1])
    assert code == 2
    assert "another program listens there" in error
    assert "Traceback" not in error


async def test_a_store_that_cannot_be_opened_is_told_in_words(tmp_path: Path) -> None:
    code, error = await failed_start(f"sqlite:///{tmp_path}/missing/jobs.db", 0)
    assert code == 2
    assert "missing" in error
    assert "Traceback" not in error


async def failed_start(store: str, port: int) -> tuple[int | None, str]:
    async with served(store, port) as (process, url):
        assert url == ""
        assert process.stderr is not None
        error = (await process.stderr.read()).decode()
        return await process.wait(), error


async def test_addresses_follow_the_path_a_proxy_cuts_off() -> None:
    app = make_app()
    listening = listen("127.0.0.1", 0)
    answering = asyncio.Event()
    server = Server(config_of(service(app), root_path="/shop"), app, answering.set)
    task = asyncio.create_task(server.serve([listening]))
    await answering.wait()
    async with httpx2.AsyncClient(base_url=url_of(listening, "127.0.0.1")) as http:
        job = await submit(http, "greet", name="Ada")
        assert job["urls"]["self"].startswith("/shop/jobs/job_")
        assert (await http.get("/openapi.json")).json()["servers"] == [{"url": "/shop"}]
    server.should_exit = True
    await task


class Stuck:
    """A transport whose other side takes nothing."""

    def __init__(self) -> None:
        self.transport = self
        self.aborted = False

    def is_closing(self) -> bool:
        return True

    def abort(self) -> None:
        self.aborted = True


async def test_a_connection_that_cannot_close_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    app = make_app()
    server = Server(config_of(service(app)), app, lambda: None)
    stuck = Stuck()
    server.server_state.connections.add(stuck)  # type: ignore[arg-type]
    await server.on_tick(0)
    assert not stuck.aborted
    monkeypatch.setattr("outlast.web.server.LINGER", -1.0)
    await server.on_tick(10)
    assert stuck.aborted
