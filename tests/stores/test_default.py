"""Which store it is where the app names none."""

from pathlib import Path

import pytest

from outlast import Outlast
from outlast.errors import ConfigurationError, StoreRefused
from outlast.stores import mongo_server, open_store, postgres_url, redis_place
from outlast.stores.default import DEFAULT_STORE, default_store

DATABASE, API = "postgresql://postgres@db.abc.supabase.co/postgres", "https://abc.supabase.co"


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({}, DEFAULT_STORE),
        ({"OUTLAST_STORE": "", "SUPABASE_DB_URL": ""}, DEFAULT_STORE),
        ({"SUPABASE_DB_URL": DATABASE, "SUPABASE_URL": API}, DATABASE),
        ({"OUTLAST_STORE": "memory://", "SUPABASE_DB_URL": DATABASE, "SUPABASE_URL": API}, "memory://"),
    ],
)
def test_the_environment_names_the_store(environ: dict[str, str], url: str) -> None:
    assert default_store(environ) == url


def test_the_address_of_supabases_web_api_alone_is_an_error_that_says_what_to_use() -> None:
    with pytest.raises(ConfigurationError, match="SUPABASE_DB_URL"):
        default_store({"SUPABASE_URL": API})
    with pytest.raises(ConfigurationError, match="SUPABASE_DB_URL"):
        open_store(API)


def test_the_address_of_upstashs_web_api_is_an_error_that_says_what_to_use() -> None:
    with pytest.raises(ConfigurationError, match="rediss://default:PASSWORD@NAME"):
        open_store("https://eu1-shop-38123.upstash.io")


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("postgresql://postgres:[s3cret]@db.abc.supabase.co:5432/postgres", "its brackets go"),
        ("redis://:s3[cret@host:6379/0", "%5B"),
        ("mongodb://ada:s3cret]@host/shop", "%5D"),
        ('"postgresql://ada:s3cret@host/db"', "without quotes"),
        ("db_user:s3cret@host/db", "no scheme"),
    ],
)
def test_a_url_that_cannot_be_read_is_refused_with_the_way_out_and_without_its_password(url: str, advice: str) -> None:
    with pytest.raises(ConfigurationError, match=advice) as refusal:
        open_store(url)
    assert "s3" not in str(refusal.value)


@pytest.mark.parametrize(
    "place",
    [
        postgres_url.place_of("postgresql://ada:s3cret@host/db?listen_url=postgresql://ada:s3cret@other/db"),
        redis_place.place_of("redis://ada:s3cret@host:6379/0"),
        mongo_server.address_of("mongodb://ada:s3cret@host/shop"),
    ],
)
def test_what_a_debugger_or_a_crash_report_shows_of_a_store_has_no_password(place: object) -> None:
    assert "s3cret" not in repr(place) and "host" in repr(place)


@pytest.mark.parametrize("variable", ["VERCEL", "AWS_LAMBDA_FUNCTION_NAME", "K_SERVICE", "NETLIFY"])
async def test_a_file_is_refused_where_the_disk_goes_with_the_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    monkeypatch.setenv(variable, "1")
    url = f"sqlite:///{tmp_path}/jobs.db"
    with pytest.raises(StoreRefused, match="OUTLAST_STORE"):
        async with Outlast(url):
            pass
    assert list(tmp_path.iterdir()) == []
    async with Outlast("memory://"):
        pass
