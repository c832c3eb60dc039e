"""What makes jobs run where no worker can live. `open_push(url)` opens one by its URL."""

from collections.abc import Mapping
from urllib.parse import parse_qsl, urlsplit

from outlast.errors import ConfigurationError
from outlast.push.base import About, Describes, Incoming, Named, Place, Publishes, Push, Unpublished, Unverified
from outlast.push.caller import Caller
from outlast.push.cron import Cron
from outlast.push.qstash import QStash
from outlast.push.sqs import SQS

__all__ = [
    "SQS",
    "About",
    "Caller",
    "Cron",
    "Describes",
    "Incoming",
    "Named",
    "Place",
    "Publishes",
    "Push",
    "QStash",
    "Unpublished",
    "Unverified",
    "chosen_push",
    "open_push",
]

FORMS = "cron:, qstash:https://shop.example and sqs:https://sqs.eu-central-1.amazonaws.com/123456789012/jobs"


def chosen_push(push: str | Push | None, environ: Mapping[str, str]) -> Push | None:
    """The push that an app is given, or that its environment names. Raises ConfigurationError for what is none."""
    if push is None:
        return default_push(environ)
    if isinstance(push, str):
        return open_push(push)
    missing = [name for name in ("name", "budget", "received") if not hasattr(push, name)]
    if missing:
        raise ConfigurationError(
            f"push= is a URL, or an object such as Cron(); {push!r:.80} has no {', '.join(missing)}"
        )
    return push


def open_push(url: str) -> Push:
    """The push that a URL names: `cron:?budget=55s`, `qstash:` and the service's own address, `sqs:` and a queue's URL.

    Raises ConfigurationError for any other.
    """
    parts = urlsplit(url)
    try:
        settings = _settings(parts.query)
        if parts.scheme == "cron" and not (parts.netloc or parts.path):
            return Cron(**settings)
        if parts.scheme == "qstash":
            return QStash(parts.path, **settings)
        if parts.scheme == "sqs":
            return SQS(parts.path, **settings)
    except ValueError as error:
        raise ConfigurationError(f"the push URL {url[:64]!r}: {error}") from None
    raise ConfigurationError(f"no push is known for {url[:64]!r}; this release knows {FORMS}")


def _settings(query: str) -> dict[str, str]:
    settings = dict(parse_qsl(query, keep_blank_values=True))
    for name in settings.keys() - {"budget"}:
        raise ValueError(f"there is no setting {name[:64]!r}; known is budget")
    return settings


def default_push(environ: Mapping[str, str]) -> Push | None:
    """The push of `OUTLAST_PUSH`; None where that is not set. Raises ConfigurationError, which names the variable."""
    url = environ.get("OUTLAST_PUSH")
    try:
        return open_push(url) if url else None
    except ConfigurationError as error:
        raise ConfigurationError(f"OUTLAST_PUSH: {error}") from None
