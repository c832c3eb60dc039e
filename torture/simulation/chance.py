"""Where the house takes chance from, the simulation puts its own: one seed decides all."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from random import Random
from unittest.mock import patch

from outlast import sweep, verbs
from outlast.stores import memory


class Tokens:
    """What `secrets` is to the house."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance

    def token_hex(self, n: int) -> str:
        return f"{self._chance.getrandbits(8 * n):0{2 * n}x}"

    def token_bytes(self, n: int) -> bytes:
        return self._chance.randbytes(n)


@contextmanager
def ruled_by(chance: Random) -> Iterator[Random]:
    """Lease ids, job ids and the jitter of a sweep come from `chance`."""
    tokens = Tokens(chance)
    with ExitStack() as places:
        places.enter_context(patch.object(memory, "secrets", tokens))
        places.enter_context(patch.object(verbs, "secrets", tokens))
        places.enter_context(patch.object(sweep, "random", chance.random))
        yield chance
