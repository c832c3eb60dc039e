"""How fast Outlast is, beside others of its kind, in one run on one disk or server: `./dev bench SUITE`.

suites.py          sqlite, postgres, redis, http, serverless: which systems, and where they keep their jobs (places.py)
plan.py  plan_postgres.py  plan_redis.py  plan_http.py  plan_serverless.py
                   what is measured, and what is to be reached: begin here
outlast_worker.py  (outlast_claims.py  outlast_crew.py)  outlast_http.py  outlast_serverless.py  importing.py
huey_worker.py  dbos_worker.py  pgqueuer_worker.py  procrastinate_worker.py  saq_worker.py  taskiq_worker.py
dramatiq_worker.py  rq_worker.py  starlette_worker.py  libraries_worker.py
                   the measured programs, one for each system, for a reader to check for fairness
measured.py        what these programs share
http_calls.py      servers on loopback and wrk on them (http_served.py, http_readers.py)
serverless_calls.py  fresh processes (serverless_start.py) and the smallest function (serverless_function.py)
programs.py        starts them, each in its own environment, with a fresh place
slow_disk.py       every sync of the disk 1 ms slower (slow_disk.c)
figures.py         medians, ratios, verdicts
history.py         the last runs that were kept, and what has fallen since
machine.py         where it was measured
table.py           what is printed
sampling.py        where the time goes, by thread
"""
