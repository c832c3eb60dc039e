"""The surface in a host of somebody else's: what is missing, and how it goes down."""

import asyncio
import logging
import subprocess
import sys
from contextlib import nullcontext

import httpx2
import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.exceptions import FastAPIDeprecationWarning
from starlette.applications import Starlette

from tests.web.ground import make_app, stream, submit
from tests.web.test_sockets import closed, hear, opened, say


@pytest.mark.parametrize("door", ["app.asgi()", "app.mount(object(), '/jobs')"])
def test_without_the_extra_a_host_is_told_what_to_install(door: str) -> None:
    hide = "import sys; sys.modules['starlette'] = None; from outlast import Outlast; app = Outlast('memory://')"
    done = subprocess.run([sys.executable, "-c", f"{hide}; {door}"], check=False, capture_output=True, encoding="utf-8")
    last = done.stderr.splitlines()[-1]
    assert last.startswith("outlast.errors.ConfigurationError: starlette is not installed")
    assert 'pip install ".[server]"' in last


# A uvicorn that is told of a prefix puts it before the path that it is asked for; FastAPI takes the path as it comes.
@pytest.mark.parametrize(
    ("by_the_host", "asked"),
    [
        pytest.param(False, "/shop", id="uvicorn, prefix cut off"),
        pytest.param(False, "", id="a server that leaves the path as it comes, prefix cut off"),
        pytest.param(True, "", id="FastAPI, prefix cut off or no proxy"),
        pytest.param(True, "/shop", id="FastAPI, prefix kept"),
    ],
)
async def test_behind_a_proxy_every_address_answers_and_begins_with_its_prefix(by_the_host: bool, asked: str) -> None:
    app = make_app()
    with pytest.warns(FastAPIDeprecationWarning) if by_the_host else nullcontext():
        host = FastAPI(root_path="/shop" if by_the_host else "")
    app.mount(host)
    server = httpx2.ASGITransport(app=host, root_path="" if by_the_host else "/shop")
    async with app.lifespan(worker=False), httpx2.AsyncClient(transport=server, base_url="http://localhost") as http:
        job = await submit(http, "greet", f"{asked}/jobs", name="Ada")
        assert job["urls"]["self"] == f"/shop/jobs/{job['id']}"
        for path in ("", "/", f"/{job['id']}", f"/{job['id']}/events"):
            assert (await http.get(f"{asked}/jobs{path}")).status_code == 200, path
        absent = await http.get(f"{asked}/jobs/a/b/c")
        assert (absent.status_code, absent.json()["instance"]) == (404, "/shop/jobs/a/b/c")
        assert (await http.get(f"{asked}/jobsx")).status_code == 404


async def test_a_websocket_works_in_a_host_under_plain_uvicorn(caplog: pytest.LogCaptureFixture) -> None:
    app = make_app()
    host = Starlette(lifespan=app.lifespan)
    app.mount(host)
    server = uvicorn.Server(uvicorn.Config(host, port=0, log_config=None, timeout_graceful_shutdown=1))
    task = asyncio.create_task(server.serve())
    async with asyncio.timeout(20):
        while not server.started:
            await asyncio.sleep(0.01)
    url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    async with httpx2.AsyncClient(base_url=url) as http:
        async with opened(http) as socket:
            await socket.send("x" * ((64 << 10) + 1))
            assert (await closed(socket))[0] == 1009
        async with opened(http) as socket:
            await say(socket, "ping")
            assert await hear(socket) == {"type": "pong"}
            server.should_exit = True
            assert (await closed(socket))[0] == 1012
    await task
    assert [record for record in caplog.records if record.exc_info] == []


async def test_a_host_that_goes_down_ends_a_stream_without_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    app = make_app()
    host = Starlette(lifespan=app.lifespan)
    app.mount(host)
    # As a plain uvicorn would: nothing tells the app before its streams are cancelled.
    server = uvicorn.Server(uvicorn.Config(host, port=0, log_config=None, timeout_graceful_shutdown=1))
    task = asyncio.create_task(server.serve())
    async with asyncio.timeout(20):
        while not server.started:
            await asyncio.sleep(0.01)
    url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    async with httpx2.AsyncClient(base_url=url, timeout=20) as http:
        job = await submit(http, "ask", question="?")
        async with stream(http, f"/jobs/{job['id']}/events") as (_, found):
            await anext(found)
            server.should_exit = True
            assert [one.event async for one in found][-1] == "stream.end"
    await task
    assert [record for record in caplog.records if record.exc_info] == []
