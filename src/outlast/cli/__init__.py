"""The command `outlast`: one function per command, and one table of exit codes.

    commands.py                     the list of commands, and how one ends
    jobs.py                         submit get watch list cancel retry delete: ask a server
    bulk.py                         cancel retry delete of many jobs
    serving.py                      serve worker: be one
    upkeep.py                       sweep doctor: look after a store
    key.py                          key new: let clients in
    exits.py                        exit codes; what went wrong as a message
    client.py, feed.py              HTTP; a job's events over as many connections as it takes
    watching.py                     a job followed to its end: in lines (plain.py) or drawn live (view.py, live.py)
    text.py                         what a terminal may be shown
    load.py                         MODULE:APP becomes an app
    signals.py, reload.py, logs.py  how a server stops, starts again, and tells
    examine.py, env.py, relaxed.py  what doctor looks at; the variables that are known; what is less careful than usual

A command imports what it needs when it runs, so that `outlast --version` loads no server and `outlast get` no driver.
"""

import sys


def main() -> None:
    """The entry point."""
    try:
        # Here, for Ctrl-C comes when it likes, and what is loaded takes a while.
        from outlast.cli.commands import run
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(run())
