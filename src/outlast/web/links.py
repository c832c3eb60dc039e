"""Where a reply leads, as OpenAPI's links: from what it names to each route that takes it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from outlast.web.auth import ACTS_FOR
from outlast.web.query import FILTERS
from outlast.web.surface import Route


@dataclass(frozen=True, slots=True)
class Lead:
    """From replies of one schema to the routes that match, such as `GET /{id}`; the last that does counts.

    `given` is what the reply, or the request before it, has for the parameters of the next request.
    """

    schema: str
    to: str
    given: Mapping[str, str]


LEADS = (
    Lead("AnyJob", "* /{id}*", {"id": "$response.body#/id"}),
    Lead("AnyJob", "* /batches/{id}*", {"id": "$response.body#/batchId"}),
    Lead(
        "AnyJob",
        "POST /{id}/signals/{name}",
        {"id": "$response.body#/id", "name": "$response.body#/waiting/signals/0"},
    ),
    Lead("JobPage", "* /{id}*", {"id": "$response.body#/data/0/id"}),
    Lead(
        "JobPage",
        "GET ",
        {"cursor": "$response.body#/nextCursor"} | {name: f"$request.query.{name}" for name in FILTERS},
    ),
    Lead("Summary", "* /{id}*", {"id": "$response.body#/newest/0/id"}),
    Lead("BatchReply", "* /{id}*", {"id": "$response.body#/jobs/0/id"}),
    Lead("BatchReply", "* /batches/{id}*", {"id": "$response.body#/batchId"}),
    Lead("BatchCounts", "* /batches/{id}*", {"id": "$response.body#/batchId"}),
    Lead("EventPage", "GET /{id}/events", {"id": "$request.path.id", "after": "$response.body#/nextAfter"}),
    Lead("Deliveries", "POST /deliveries/{id}/redeliver", {"id": "$response.body#/data/0/id"}),
    Lead("Delivery", "POST /deliveries/{id}/redeliver", {"id": "$response.body#/id"}),
)

SAME_OWNER = {f"header.{ACTS_FOR}": f"$request.header.{ACTS_FOR}"}


def links(routes: Iterable[Route]) -> dict[str, dict[str, Any]]:
    """By schema: the links of its replies, each under a name of its own, to those of the routes that there are."""
    found: dict[str, dict[str, Any]] = {lead.schema: {} for lead in LEADS}
    targets = list(routes)
    for lead in LEADS:
        found[lead.schema] |= dict(_followed(lead, targets))
    return found


def _followed(lead: Lead, routes: Iterable[Route]) -> Iterator[tuple[str, Any]]:
    for route in routes:
        if fnmatchcase(f"{route.method} {route.path}", lead.to):
            operation = route.endpoint.__name__
            yield operation, {"operationId": operation, "parameters": {**lead.given, **SAME_OWNER}}
