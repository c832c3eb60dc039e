"""What serve and worker write to stderr: one line per happening, with its time and level."""

import logging
import time

from outlast.cli.exits import masked
from outlast.cli.text import safe

FORMAT = "%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s"


class Lines(logging.Formatter):
    """UTC times; a message is one line whatever is in it, and only a traceback has more."""

    def __init__(self) -> None:
        super().__init__(FORMAT, "%Y-%m-%dT%H:%M:%S")
        self.converter = time.gmtime

    def formatMessage(self, record: logging.LogRecord) -> str:
        return masked(safe(super().formatMessage(record)))

    def formatException(self, ei: object) -> str:
        return safe(super().formatException(ei), lines=True)  # type: ignore[arg-type]  # as it came


def set_up() -> None:
    """Show what Outlast does, and the warnings of everybody else, unless the user's code has set up logging itself."""
    if not logging.getLogger().handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(Lines())
        logging.getLogger().addHandler(handler)
        logging.getLogger("outlast").setLevel(logging.INFO)
