"""Was it submitted? The answer names what was."""

from datetime import date

import pytest
from pydantic import BaseModel

from outlast import Context, Outlast
from outlast.handler import Handler
from outlast.testing import Jobs


class Order(BaseModel):
    number: int
    day: date


@pytest.fixture
def ship(app: Outlast) -> Handler[[Order, bool], None]:
    @app.handler
    async def ship(ctx: Context, order: Order, fast: bool = False) -> None: ...

    return ship


ORDER = Order(number=7, day=date(2027, 1, 15))


async def test_a_part_of_the_payload_is_enough(ship: Handler[[Order, bool], None], jobs: Jobs) -> None:
    job = await ship.options(owner="ada").submit(ORDER, True)
    assert [one.id for one in jobs.assert_submitted(ship)] == [job.id]
    jobs.assert_submitted(ship, order=ORDER)
    jobs.assert_submitted("ship", fast=True, times=1)
    jobs.assert_submitted(ship, owner="ada", order={"number": 7, "day": "2027-01-15"}, fast=True)
    jobs.assert_submitted(ship, owner=None, times=0)
    jobs.assert_submitted(ship, fast=False, times=0)


async def test_what_was_submitted_instead_is_told(ship: Handler[[Order, bool], None], jobs: Jobs) -> None:
    with pytest.raises(AssertionError, match=r"^ship\(fast=True\) was submitted 0x\nnothing was submitted$"):
        jobs.assert_submitted(ship, fast=True)
    await ship.options(owner="ada").submit(ORDER, True)
    with pytest.raises(AssertionError) as refused:
        jobs.assert_submitted(ship, owner="bob", fast=True)
    assert str(refused.value) == (
        "ship(fast=True) for owner 'bob' was submitted 0x\n"
        "submitted were:\n"
        "  ship(order={'number': 7, 'day': '2027-01-15'}, fast=True) for owner 'ada'"
    )
    with pytest.raises(AssertionError, match=r"^ship\(\) was submitted 1x"):
        jobs.assert_submitted(ship, times=2)


async def test_a_misspelt_field_is_an_error_and_no_absence(ship: Handler[[Order, bool], None], jobs: Jobs) -> None:
    with pytest.raises(TypeError, match="did you mean 'fast'"):
        jobs.assert_submitted(ship, fasst=True, times=0)


async def test_a_job_that_is_removed_was_submitted_all_the_same(ship: Handler[[Order, bool], None], jobs: Jobs) -> None:
    job = await jobs.run_now(ship, ORDER, True)
    await jobs.app.delete(job)
    jobs.assert_submitted(ship, fast=True, times=1)
