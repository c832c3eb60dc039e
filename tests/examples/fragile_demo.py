"""The demo, but it dies by SIGKILL between two steps: when the handler first reports this much progress.

Run as a module; OUTLAST_TEST_DIE_AT is the progress in percent.
"""

import os
import signal
import sys

from examples.demo import main
from outlast import Context

DIE_AT = float(os.environ["OUTLAST_TEST_DIE_AT"])
progress = Context.progress


def fatal_progress(self: Context, percent: float, message: str | None = None) -> None:
    if percent >= DIE_AT:
        os.kill(os.getpid(), signal.SIGKILL)
    progress(self, percent, message)


if __name__ == "__main__":
    Context.progress = fatal_progress  # type: ignore[method-assign]
    sys.exit(main())
