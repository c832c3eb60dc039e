"""Who asks over HTTP, and what they may do."""

from dataclasses import dataclass

from outlast.stores.base import ANY, Owner

READ, WRITE, CANCEL, METRICS, ADMIN = "jobs:read", "jobs:write", "jobs:cancel", "metrics:read", "admin"
SCOPES = frozenset({READ, WRITE, CANCEL, METRICS, ADMIN})
USUAL_SCOPES = frozenset({READ, WRITE, CANCEL})


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: the owner whose jobs they see and submit, and their scopes.

    Scopes: `jobs:read`, `jobs:write` (submit, retry, signal, delete), `jobs:cancel`, `metrics:read` (the numbers of
    all owners together), and `admin`: all of these, on the jobs of every owner.
    """

    owner: str | None
    scopes: frozenset[str] = USUAL_SCOPES

    @property
    def sees(self) -> Owner:
        """Whose jobs are there for this principal."""
        return ANY if ADMIN in self.scopes else self.owner

    def may(self, scope: str) -> bool:
        """True if this principal has the scope."""
        return scope in self.scopes or ADMIN in self.scopes
