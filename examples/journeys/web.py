"""The page of this example, and the addresses it had before it was built on Outlast."""

import os
from json import JSONDecodeError
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from examples.app import app
from examples.journeys.jobs import transcript_to_journey
from examples.models import choose
from outlast import Fail, InvalidRequest, Job, JobNotFound, Status

HERE = Path(__file__).parent
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


class Page(StaticFiles):
    """The files of the page. They are small, so a browser asks each time whether they changed."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["Cache-Control"] = "no-cache"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response


async def submit_transcript(request: Request) -> JSONResponse:
    """`{transcript, prompt}` in, 202 `{jobId}` out."""
    try:
        body = await request.json()
        job = await app.submit(transcript_to_journey.name, body)
    except (JSONDecodeError, UnicodeDecodeError):
        return JSONResponse({"error": "The body is not JSON."}, 400)
    except InvalidRequest as error:
        return JSONResponse({"error": str(error)}, 400)
    return JSONResponse({"jobId": job.id}, 202)


async def check_job_status(request: Request) -> JSONResponse:
    """`?jobId=` in, one of three shapes out; a live job is `processing` whatever it waits for."""
    try:
        job = await app.get(request.query_params.get("jobId", ""))
    except JobNotFound as error:
        return JSONResponse({"error": str(error)}, 404)
    return JSONResponse(_historic(job))


def _historic(job: Job[object]) -> dict[str, object]:
    wire = job.wire()
    if job.status is Status.COMPLETED:
        return {"status": "completed", "result": wire["result"]}
    if job.status.ended:
        return {"status": "failed", "error": job.last_error.message if job.last_error else "The job was cancelled."}
    return {"status": "processing", "createdAt": wire["createdAt"]}


async def show_model(request: Request) -> JSONResponse:
    """Which model will answer, so that the page can say so before anything is asked."""
    try:
        choice = choose(os.environ)
    except Fail as error:
        return JSONResponse({"model": str(error), "offline": False})
    return JSONResponse({"model": choice.name, "offline": choice.offline})


routes: list[BaseRoute] = [
    Route("/transcript-to-journey-background", submit_transcript, methods=["POST"]),
    Route("/check-job-status", check_job_status),
    Route("/model", show_model),
    Mount("/transcripts", StaticFiles(directory=HERE / "transcripts")),
    Mount("/", Page(directory=HERE / "page", html=True)),
]
