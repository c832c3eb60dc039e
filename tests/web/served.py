"""A service in a process: `python -m tests.web.served STORE PORT [SLOTS]`. Prints its URL once it answers."""

import logging
import sys

from outlast.errors import OutlastError
from outlast.web.server import run
from outlast.web.service import service
from tests.web.ground import make_app


def main(store: str, port: str, slots: str = "10") -> int:
    logging.basicConfig(level=logging.WARNING)
    app = make_app(store, concurrency=int(slots))
    try:
        run(service(app), app, port=int(port), ready=lambda url: print(url, flush=True))
    except OutlastError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
