"""The service on a socket: uvicorn, which at a signal first lets the app stop, so that every stream ends by itself.

A worker that gives up does the same as the first signal; the caller of `run` asks `app.stuck`.
First signal: streams end with `stream.end`, nothing new is claimed, what runs is handed back, the process exits with 0.
Second signal: the process exits at once with 130; leases run out and the jobs go on elsewhere.
"""

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from time import monotonic
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from outlast.app import Outlast
from outlast.errors import ConfigurationError
from outlast.web.sockets import LARGEST

GRACE = 5
"""Seconds that replies under way have to end after a signal."""

LINGER = 5.0
"""Seconds a closed connection has to take what it was sent before it is dropped."""


def run(
    asgi: ASGIApp,
    app: Outlast,
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    root_path: str = "",
    trusted_proxies: str | None = None,
    ready: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve until a signal.

    Parameters
    ----------
    asgi: what is served, such as `service(app)`.
    app: what is told to stop at a signal.
    port: 0 takes any that is free.
    root_path: the path a proxy in front has cut off; every address in a reply begins with it.
    trusted_proxies: addresses whose `X-Forwarded-*` are believed; None: nobody's.
    ready: called with the server's URL once it answers.

    Raises ConfigurationError if the address cannot be had, and what the store raises if it cannot be opened.
    """
    config = config_of(asgi, root_path=root_path, trusted_proxies=trusted_proxies)
    with listen(host, port) as listening:
        Server(config, app, lambda: ready(url_of(listening, host))).run([listening])


def config_of(asgi: ASGIApp, *, root_path: str = "", trusted_proxies: str | None = None) -> uvicorn.Config:
    """uvicorn as we want it: quiet, and believing nobody about where a request came from."""
    return uvicorn.Config(
        asgi,
        http="h11",
        ws="websockets-sansio",
        ws_max_size=LARGEST,
        # It would cost more memory for each connection than all else of it, and small frames gain little.
        ws_per_message_deflate=False,
        lifespan="on",
        root_path=root_path,
        proxy_headers=trusted_proxies is not None,
        forwarded_allow_ips=trusted_proxies,
        server_header=False,
        access_log=False,
        log_config=None,
        log_level="warning",
        timeout_graceful_shutdown=GRACE,
    )


def listen(host: str, port: int) -> socket.socket:
    """A socket at an address. Raises ConfigurationError if it cannot be had."""
    try:
        return _bound(host, port)
    except OSError as error:
        way_out = {
            errno.EADDRINUSE: "another program listens there; choose another --port",
            errno.EACCES: "ports below 1024 are the administrator's; choose another --port",
        }.get(error.errno or 0, "is the --host an address of this machine?")
        raise ConfigurationError(f"cannot listen on {host}:{port}: {error.strerror}; {way_out}") from error


def _bound(host: str, port: int) -> socket.socket:
    family, type, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    # The protocol must be named: only where it reads TCP does asyncio turn off the 40 ms that replies are held back.
    listening = socket.socket(family, type, proto)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(2048)
    except OSError:
        listening.close()
        raise
    return listening


def url_of(listening: socket.socket, host: str) -> str:
    """Where a browser on this machine finds the server."""
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{listening.getsockname()[1]}"


class Server(uvicorn.Server):
    """uvicorn with a stop of our own."""

    def __init__(self, config: uvicorn.Config, app: Outlast, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._app = app
        self._ready = ready
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Task[None] | None = None
        self._closing: dict[asyncio.Transport, float] = {}

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        # Before uvicorn's own start, which would bury an error of the store in a log line.
        await self._app.__aenter__()
        await super().startup(sockets)
        self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called by the signal, between any two instructions."""
        if self.should_exit:
            os._exit(130)
        self._begin_end()

    def _begin_end(self) -> None:
        self.should_exit = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop_app)

    def _stop_app(self) -> None:
        self._stop = asyncio.ensure_future(self._app.stop())

    async def on_tick(self, counter: int) -> bool:
        if counter % 10 == 0:
            self._drop_stuck()
        if self._app.stuck and not self.should_exit:
            self._begin_end()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._stop is not None:
            await asyncio.wait({self._stop})
        await super().shutdown(sockets)

    def _drop_stuck(self) -> None:
        """A reader that takes nothing would hold its connection for ever, for closing waits for it too."""
        now = monotonic()
        transports = [connection.transport for connection in self.server_state.connections]
        closing = {one: self._closing.get(one, now) for one in transports if one.is_closing()}
        for transport, since in closing.items():
            if now - since > LINGER:
                transport.abort()
        self._closing = closing
