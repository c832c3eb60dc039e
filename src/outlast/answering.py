"""What becomes of a call for a job, whichever way it came. No failure of a job is one of the call."""

from outlast.app import Outlast
from outlast.errors import JobNotFound
from outlast.push import Named


async def run_named(app: Outlast, named: Named | None, budget: float) -> bool:
    """Run a slice of the job that a call names, in so many seconds; False if there was none to run."""
    if named is None:
        app.observe("push.unreadable")
        return False
    try:
        return await app.run_slice(named.job_id, budget=budget)
    except JobNotFound:
        app.observe("push.unknown", job_id=named.job_id)
        return False


async def give_up(app: Outlast, named: Named | None) -> bool:
    """The service has given up this call; True if that ended its job."""
    if named is None:
        app.observe("push.unreadable")
        return False
    try:
        failed = await app.dead_letter(named.job_id, named.turn)
    except JobNotFound:
        app.observe("push.unknown", job_id=named.job_id)
        return False
    outcome = "the job has failed; retry it once its calls are answered" if failed else "the job has gone on since"
    app.observe("push.dead", job_id=named.job_id, outcome=outcome)
    return failed
