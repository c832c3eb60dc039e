"""The description as walks need it: they are to begin with a submit, or with a list of what has been submitted.

Schemathesis begins one with any POST that has links, but for those whose body has a field such as `externalId`, in its
eyes what something else must make first. So it would begin with a cancel of nothing, and never with a submit.
"""

import copy
from typing import Any

NOT_REFERENCES = ("batchId", "externalId")


def for_walks(document: dict[str, Any]) -> dict[str, Any]:
    """A copy in which no field of a submit looks like a reference, and no change of one job leads on by itself."""
    made = copy.deepcopy(document)
    for name, schema in made["components"]["schemas"].items():
        if name == "Batch" or name.endswith((".submit", ".item")):
            for field in NOT_REFERENCES:
                schema["properties"].pop(field, None)
    for path, item in made["paths"].items():
        for reply in item.get("post", {"responses": {}})["responses"].values():
            if "{" in path:
                reply.pop("links", None)
    return made
