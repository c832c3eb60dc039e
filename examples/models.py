"""Which model answers: the one OUTLAST_MODEL names, else that of the first vendor whose key is there, else offline.

The vendor's SDK is imported only when its model is opened. Its own retries are off: an SDK that sleeps through a rate
limit holds a worker, while a job that says `Retry(after=...)` gives it back.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from outlast import Fail

if TYPE_CHECKING:
    from pydantic_ai.models import Model

OFFLINE = "offline"
OFFLINE_NAME = "outlast-offline"
VENDORS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "anthropic": (("ANTHROPIC_API_KEY",), "claude-sonnet-4-5"),
    "openai": (("OPENAI_API_KEY",), "gpt-5"),
    "google": (("GEMINI_API_KEY", "GOOGLE_API_KEY"), "gemini-3.8-flash"),
    "grok": (("GROK_API_KEY", "XAI_API_KEY"), "grok-4.3"),
    "ollama": ((), "llama3.2"),
}
"""For each vendor the variables that may hold its key, and the model that is taken where none is named."""

KEYLESS = frozenset({"ollama"})
GROK_URL = "https://api.x.ai/v1"
OLLAMA_URL = "http://127.0.0.1:11434/v1"


@dataclass(frozen=True)
class Choice:
    """A vendor and its model, before anything of the vendor is imported."""

    vendor: str
    model: str

    @property
    def offline(self) -> bool:
        return self.vendor == OFFLINE

    @property
    def name(self) -> str:
        return self.model if self.offline else f"{self.vendor}:{self.model}"


def choose(environment: Mapping[str, str]) -> Choice:
    """The model that these variables ask for. Raises Fail if they name one that there is not."""
    asked = environment.get("OUTLAST_MODEL", "").strip()
    if asked:
        return _named(asked)
    for vendor, (variables, model) in VENDORS.items():
        if _key(variables, environment):
            return Choice(vendor, model)
    return Choice(OFFLINE, OFFLINE_NAME)


def open_model(choice: Choice, environment: Mapping[str, str]) -> "Model":
    """The vendor's model, ready to be asked. Raises Fail if its key or its package is missing."""
    variables, _ = VENDORS[choice.vendor]
    key = _key(variables, environment)
    if not key and choice.vendor not in KEYLESS:
        raise Fail(f"No key for {choice.name}.", code="provider_error", advice=f"Set {' or '.join(variables)}.")
    try:
        return _open(choice, key, environment)
    except ImportError as error:
        extra = choice.vendor if choice.vendor in ("anthropic", "google") else "openai"
        raise Fail(
            f"The package for {choice.name} is not installed.",
            code="provider_error",
            advice=f'Run pip install "pydantic-ai-slim[{extra}]".',
        ) from error


def key_variables(choice: Choice) -> str:
    """The variables that may hold the key of this choice, for advice."""
    return " or ".join(VENDORS[choice.vendor][0]) if choice.vendor in VENDORS else ""


def _named(asked: str) -> Choice:
    vendor, _, model = asked.partition(":")
    if vendor == OFFLINE:
        return Choice(OFFLINE, OFFLINE_NAME)
    if vendor not in VENDORS:
        raise Fail(
            f"OUTLAST_MODEL names the vendor {vendor[:40]!r}, which is not known here.",
            code="provider_error",
            advice=f"Use {', '.join(f'{known}:MODEL' for known in VENDORS)} or {OFFLINE}.",
        )
    return Choice(vendor, model or VENDORS[vendor][1])


def _key(variables: tuple[str, ...], environment: Mapping[str, str]) -> str:
    return next((value for variable in variables if (value := environment.get(variable, "").strip())), "")


def _open(choice: Choice, key: str, environment: Mapping[str, str]) -> "Model":
    match choice.vendor:
        case "anthropic":
            return _anthropic(choice.model, key)
        case "google":
            return _google(choice.model, key)
        case "grok":
            return _openai(choice.model, key, environment.get("GROK_BASE_URL") or GROK_URL)
        case "ollama":
            return _openai(choice.model, "ollama", environment.get("OLLAMA_BASE_URL") or OLLAMA_URL)
        case _:
            return _openai(choice.model, key, environment.get("OPENAI_BASE_URL"))


def _openai(model: str, key: str, url: str | None) -> "Model":
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    provider = OpenAIProvider(api_key=key, base_url=url)
    provider.client.max_retries = 0
    return OpenAIChatModel(model, provider=provider)


def _anthropic(model: str, key: str) -> "Model":
    from pydantic_ai.models.anthropic import AnthropicModel
    from pydantic_ai.providers.anthropic import AnthropicProvider

    provider = AnthropicProvider(api_key=key)
    provider.client.max_retries = 0
    return AnthropicModel(model, provider=provider)


def _google(model: str, key: str) -> "Model":
    from google.genai.types import HttpRetryOptions
    from pydantic_ai.models.google import GoogleModel
    from pydantic_ai.providers.google import GoogleProvider

    return GoogleModel(model, provider=GoogleProvider(api_key=key, retry_options=HttpRetryOptions(attempts=1)))
