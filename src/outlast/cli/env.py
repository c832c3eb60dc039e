"""The environment variables that Outlast knows, and those that were meant."""

import os
from collections.abc import Iterator, Mapping
from difflib import get_close_matches

KNOWN: Mapping[str, str] = {
    "OUTLAST_STORE": "the store's URL, where the app names none",
    "OUTLAST_URL": "the server that client commands ask",
    "OUTLAST_KEY": "the key they send",
    "OUTLAST_KEYS": "the keys a server takes: id:owner:scope+scope:sha256hex,...",
    "OUTLAST_SECRET": "signs what is sent out",
    "OUTLAST_PUSH": "the push service",
    "OUTLAST_MODEL": "the model of the examples",
}

FOR_TESTS = "OUTLAST_TEST_"


def unknown() -> Iterator[str]:
    """A warning for each variable that begins like ours and is none."""
    for name in sorted(os.environ):
        if name.startswith("OUTLAST_") and name not in KNOWN and not name.startswith(FOR_TESTS):
            near = get_close_matches(name, KNOWN, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(KNOWN)}"
            yield f"the environment variable {name} means nothing to Outlast; {hint}"
