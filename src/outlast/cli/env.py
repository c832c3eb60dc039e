"""The environment variables that Outlast knows, and those that were meant."""

import os
from collections.abc import Iterator, Mapping
from difflib import get_close_matches

KNOWN: Mapping[str, str] = {
    "OUTLAST_STORE": "the store's URL, where the app names none",
    "OUTLAST_URL": "the server that client commands ask",
    "OUTLAST_KEY": "the key they send",
    "OUTLAST_KEYS": "the keys a server takes: id:owner:scope+scope:sha256hex,...",
    "OUTLAST_SECRET": "signs tokens and webhooks; several are parted by commas, the first signs and each verifies",
    "OUTLAST_PUSH": "what makes jobs run where no worker can live, such as cron:",
    "OUTLAST_PUBLIC_URL": "the address that jobs lie under for those outside, which webhooks are told",
    "OUTLAST_MODEL": "the model of the examples",
}

OURS, FOR_TESTS = "OUTLAST_", "OUTLAST_TEST_"


def unknown() -> Iterator[str]:
    """A warning for each variable that begins like ours and is none."""
    for name in sorted(os.environ):
        if name.startswith(OURS) and name not in KNOWN and not name.startswith(FOR_TESTS):
            near = get_close_matches(name.removeprefix(OURS), [known.removeprefix(OURS) for known in KNOWN], n=1)
            hint = f"did you mean {OURS}{near[0]}?" if near else f"known are {', '.join(KNOWN)}"
            yield f"the environment variable {name} means nothing to Outlast; {hint}"
