"""Who asks over HTTP, and what they may do."""

from dataclasses import dataclass, field

from outlast.stores.base import ANY, Owner

READ, WRITE, CANCEL, METRICS, ADMIN = "jobs:read", "jobs:write", "jobs:cancel", "metrics:read", "admin"
OWNER_ANY = "owner:any"
SCOPES = frozenset({READ, WRITE, CANCEL, METRICS, OWNER_ANY, ADMIN})
USUAL_SCOPES = frozenset({READ, WRITE, CANCEL})


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: the owner whose jobs they see and submit, and their scopes.

    Scopes: `jobs:read`, `jobs:write` (submit, retry, signal, delete), `jobs:cancel`, `metrics:read` (the numbers of
    all owners together), `owner:any` (act for whichever owner the header `Outlast-Owner` names), and `admin`: all of
    these, on the jobs of every owner. `name` is what the log calls them.
    """

    owner: str | None
    scopes: frozenset[str] = USUAL_SCOPES
    name: str | None = field(default=None, compare=False)

    @property
    def sees(self) -> Owner:
        """Whose jobs are there for this principal."""
        return ANY if ADMIN in self.scopes else self.owner

    def may(self, scope: str) -> bool:
        """True if this principal has the scope."""
        return scope in self.scopes or ADMIN in self.scopes

    def acting_for(self, owner: str) -> "Principal":
        """This principal in the place of an owner: what it may do with jobs, it may do with theirs alone."""
        return Principal(owner, frozenset(filter(self.may, USUAL_SCOPES)), self.name)
