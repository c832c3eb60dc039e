"""How fast Outlast is, beside others of its kind, in one run on one disk: `./dev bench sqlite`.

plan.py            what is measured, and what is to be reached: begin here
outlast_worker.py  huey_worker.py  dbos_worker.py  importing.py
                   the measured programs, one for each system, for a reader to check for fairness
measured.py        what these programs share
programs.py        starts them, each in its own environment and a fresh folder
slow_disk.py       every sync of the disk 1 ms slower (slow_disk.c)
figures.py         medians, ratios, verdicts
history.py         the last runs that were kept, and what has fallen since
machine.py         where it was measured
table.py           what is printed
sampling.py        where the time goes, by thread
"""
