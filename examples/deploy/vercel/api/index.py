"""What Vercel runs: the jobs over HTTP, and what QStash and the platform's cron call."""

from jobs import app as jobs

from outlast.web.service import service

app = service(jobs, worker=False)
