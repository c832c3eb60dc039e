"""Ports for the servers that tests start as programs of their own."""

import secrets
import socket

# Below what Linux and others give to clients, and to servers that ask for any port.
FIRST, LAST = 20_000, 32_767

_claims: list[socket.socket] = []


def free_port() -> int:
    """A TCP port of 127.0.0.1 that is given to nobody else, in any process, while this one lives.

    A port that was bound to be found and closed to be used is anybody's in between. So it is claimed by a datagram
    socket of the same number, which no server here needs and the system gives back when the process ends.
    """
    while True:
        port = FIRST + secrets.randbelow(LAST - FIRST + 1)
        claim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            claim.bind(("127.0.0.1", port))
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            claim.close()
        else:
            _claims.append(claim)
            return port
