"""A platform that gives each request a process of its own and kills it with its answer, and a queue that calls it.

`platform.Platform` runs an ASGI app that way, `queue.Queue` speaks the part of QStash's protocol that Outlast uses.
Both live in the process of the trial; the functions are processes of their own, and die as those of a platform do.
"""
