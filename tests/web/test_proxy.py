"""Behind nginx with its defaults and gzip on: a stream is neither held nor compressed, and an answer is as it was."""

import asyncio
import os
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from outlast import Context, Outlast
from outlast.web.service import service
from tests.ports import free_port
from tests.web.ground import frames, serving

PATIENCE = 20.0
CONFIGURATION = """
daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1; user {user};
events {{}}
http {{
    access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    gzip on; gzip_types *; gzip_proxied any; gzip_min_length 0;
    server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {server}; proxy_set_header Host $http_host; }} }}
}}
"""


def nginx() -> str:
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("nginx is not installed; ./dev setup does that")
    return program


@contextmanager
def proxied(server: str, folder: Path) -> Iterator[str]:
    port = free_port()
    user = "root" if os.getuid() == 0 else "nobody"
    (folder / "conf").write_text(CONFIGURATION.format(folder=folder, port=port, server=server, user=user))
    process = subprocess.Popen([nginx(), "-c", str(folder / "conf"), "-e", str(folder / "error.log")])
    try:
        deadline = time.monotonic() + PATIENCE
        while not (folder / "pid").exists() or not (folder / "pid").read_text().strip():
            assert process.poll() is None and time.monotonic() < deadline, (folder / "error.log").read_text()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)


@pytest.fixture
async def http(tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    app = Outlast("memory://")

    @app.handler
    async def speak(ctx: Context, words: int) -> int:
        for _ in range(words):
            ctx.write(f"{time.time()} ")
            await asyncio.sleep(0.1)
        return words

    async with serving(service(app), app) as server:
        with proxied(server, tmp_path) as url:
            async with httpx2.AsyncClient(base_url=url, timeout=PATIENCE) as http:
                yield http


async def test_each_word_arrives_within_a_fifth_of_a_second(http: httpx2.AsyncClient) -> None:
    job = (await http.post("/jobs", json={"type": "speak", "payload": {"words": 20}})).json()
    headers = {"Accept": "text/event-stream", "Accept-Encoding": "gzip, br, zstd", "Last-Event-ID": "0"}
    took = list[float]()
    async with http.stream("GET", f"/jobs/{job['id']}/events", headers=headers) as answer:
        assert answer.headers["server"].startswith("nginx")
        assert answer.headers.get("content-encoding", "identity") == "identity"
        async for frame in frames(answer.aiter_lines()):
            if frame.event == "job.output.delta":
                took.append(time.time() - float(frame.data["text"].split()[0]))
    assert len(took) > 10
    assert took[0] < 0.2
    assert sorted(took)[len(took) // 2] < 0.2


async def test_an_answer_that_is_compressed_on_the_way_is_the_same(http: httpx2.AsyncClient) -> None:
    job = (
        await http.post("/jobs", json={"type": "speak", "payload": {"words": 1}}, headers={"Prefer": "wait=10"})
    ).json()
    assert job["status"] == "completed"
    shown = await http.get(f"/jobs/{job['id']}", headers={"Accept-Encoding": "gzip"})
    assert (shown.headers["content-encoding"], shown.json()["id"]) == ("gzip", job["id"])
    # Compressed on the way, an ETag is weak, and still the job's.
    again = await http.get(f"/jobs/{job['id']}", headers={"If-None-Match": shown.headers["etag"]})
    assert again.status_code == 304
