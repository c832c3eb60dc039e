"""A platform where no process lives for long, a queue that calls it, and the trial of both; see the heads of the files.

platform   runs an ASGI app: each request in a process that dies, or freezes, with its answer (`instance`, `function`)
queue      speaks the part of QStash's protocol that Outlast uses, and errs as a trial wants it to
intruder   hears the queue's calls, makes some again and forges others
site       a platform and a queue that know of each other
trial      a thousand jobs under all of this, and one that is longer than any function

Platform, queue and intruder live in the process of the trial; the functions are processes of their own, and die as
those of a platform do.
"""
