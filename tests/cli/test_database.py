"""db migrate and db sql."""

import pytest

from tests.cli.ground import Place

pytestmark = pytest.mark.usefixtures("imports")

NOWHERE = "postgresql://ada@127.0.0.1:1/shop?schema=jobs"


def test_the_statements_are_printed_without_a_server(place: Place) -> None:
    printed = place.ok("db", "sql", "--store", NOWHERE)
    assert printed.startswith("begin;\ndo 'begin")
    assert 'create schema "jobs";' in printed
    assert printed.endswith("commit;")


def test_a_store_that_needs_no_statements_says_so(place: Place) -> None:
    refused = place.inside("db", "sql")
    assert (refused.exit_code, "needs no SQL" in refused.stderr) == (2, True)


def test_a_migration_says_where_the_tables_stand(place: Place) -> None:
    assert place.ok("db", "migrate").endswith("schema 1")


def test_a_migration_of_a_server_that_does_not_answer_ends_as_not_reachable(place: Place) -> None:
    # In a process of its own: a driver cannot be imported, forgotten and imported again.
    refused = place.run("db", "migrate", "--store", NOWHERE)
    assert (refused.returncode, "does not answer" in refused.stderr) == (3, True)
