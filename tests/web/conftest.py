"""A service in this process, and a client of it."""

from collections.abc import AsyncIterator

import httpx2
import pytest

from outlast import Outlast
from outlast.web.service import service
from tests.web.ground import client, make_app, serving


@pytest.fixture
def app() -> Outlast:
    return make_app()


@pytest.fixture
async def http(app: Outlast) -> AsyncIterator[httpx2.AsyncClient]:
    """The service with a worker, asked without a socket."""
    async with app.lifespan(), client(service(app)) as http:
        yield http


@pytest.fixture
async def idle(app: Outlast) -> AsyncIterator[httpx2.AsyncClient]:
    """The service without a worker: what is submitted stays queued."""
    async with app.lifespan(worker=False), client(service(app)) as http:
        yield http


@pytest.fixture
async def live(app: Outlast) -> AsyncIterator[httpx2.AsyncClient]:
    """The service on a real socket."""
    async with serving(service(app), app) as url, httpx2.AsyncClient(base_url=url, timeout=20) as http:
        yield http
