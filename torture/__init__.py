"""Trials that are too many for a run of the tests; `./dev torture` is the command, `__main__` says how one plugs in."""
