"""Requests: a real server is asked all that its own description allows, and much that it does not.

app     what is served: handlers whose payloads and fates vary
checks  what every answer is held to
walks   how the description is read where requests follow its links
trial   one seed: a server with a worker, and the thousands of requests that schemathesis makes of its description
"""

from torture.requests.trial import replay, run

__all__ = ["replay", "run"]
