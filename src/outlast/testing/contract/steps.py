"""Steps: the first completed value wins, and lasts through every attempt."""

from dataclasses import replace

from outlast import lifecycle
from outlast.job import Step
from outlast.stores.base import Store
from outlast.testing.contract.ground import new_job, processing, refused, shot, step, taken_over, wrote


class Steps:
    async def test_a_step_comes_back_with_every_field(self, store: Store) -> None:
        job = await processing(store)
        full = Step(
            key="outer/draft é 😀",
            name="Draft",
            index=3,
            status="completed",
            value='{"b": 1,  "a": "\u2028 😀"}',
            due=store.now() + 0.1,
            attempt=2,
            duration_ms=8_120,
        )
        await wrote(store, lifecycle.append(job, steps=[full]))
        assert await store.steps(job.id) == [full]

    async def test_steps_are_read_by_their_index(self, store: Store) -> None:
        job = await processing(store)
        for index in (2, 0, 11, 1):
            await wrote(store, lifecycle.append(job, steps=[step(f"step {index}", index)]))
        assert [one.index for one in await store.steps(job.id)] == [0, 1, 2, 11]

    async def test_the_first_completed_value_of_a_step_wins(self, store: Store) -> None:
        job = await processing(store)
        await wrote(store, lifecycle.append(job, steps=[step("draft", value='"first"')]))
        for late in (step("draft", value='"second"'), step("draft", value=None, status="failed")):
            assert await store.apply([lifecycle.append(job, steps=[late])]) == [None]
            assert await store.steps(job.id) == [step("draft", value='"first"')]

    async def test_the_first_value_wins_within_one_call_too(self, store: Store) -> None:
        job = await processing(store)
        values = [step("draft", value=f'"{n}"') for n in range(5)]
        await store.apply([lifecycle.append(job, steps=[value]) for value in values])
        assert await store.steps(job.id) == [values[0]]

    async def test_the_first_value_wins_over_a_later_attempts(self, store: Store) -> None:
        job = await processing(store)
        await wrote(store, lifecycle.append(job, steps=[step("draft", value='"first"', attempt=1)]))
        successor = await taken_over(store, job)
        again = step("draft", value='"second"', attempt=2)
        assert await store.apply([lifecycle.append(successor, steps=[again])]) == [None]
        assert [one.value for one in await store.steps(job.id)] == ['"first"']

    async def test_a_step_may_complete_with_null(self, store: Store) -> None:
        job = await processing(store)
        await wrote(store, lifecycle.append(job, steps=[step("a", value="null"), step("b", 1, value=None)]))
        await store.apply([lifecycle.append(job, steps=[step("a", value="1"), step("b", 1, value="1")])])
        assert [one.value for one in await store.steps(job.id)] == ["null", None]

    async def test_a_waiting_step_becomes_completed(self, store: Store) -> None:
        job = await processing(store)
        asleep = step("sleep", value=None, status="waiting", due=store.now() + 60)
        await wrote(store, lifecycle.append(job, steps=[asleep]))
        await wrote(store, lifecycle.append(job, steps=[replace(asleep, due=store.now() + 30)]))
        await wrote(store, lifecycle.append(job, steps=[replace(asleep, status="completed", value="null")]))
        await store.apply([lifecycle.append(job, steps=[asleep])])
        assert [one.status for one in await store.steps(job.id)] == ["completed"]

    async def test_a_step_under_a_lost_lease_is_not_recorded(self, store: Store) -> None:
        job = await processing(store)
        successor = await taken_over(store, job)
        await refused(store, lifecycle.append(job, steps=[step("draft", value='"stale"')]))
        await wrote(store, lifecycle.append(successor, steps=[step("draft", value='"fresh"')]))

    async def test_each_job_has_steps_of_its_own(self, store: Store) -> None:
        one, other = await processing(store), await processing(store)
        await store.apply([lifecycle.append(job, steps=[step("draft", value=f'"{job.id}"')]) for job in (one, other)])
        assert [value.value for value in await store.steps(one.id)] == [f'"{one.id}"']
        assert [value.value for value in await store.steps(other.id)] == [f'"{other.id}"']

    async def test_a_retry_by_hand_begins_with_the_steps_it_inherits(self, store: Store) -> None:
        inherited = [step("draft", 0), step("review", 1, value=None, status="waiting", due=1.0)]
        new = new_job(store, retry_of="job_first", steps=inherited)
        await store.insert([new])
        assert await store.steps(new.job.id) == inherited
        assert (await shot(store, new.job.id)).job.retry_of == "job_first"
