"""The environment chooses the model: OUTLAST_MODEL first, then a vendor's key, else the offline model."""

import pytest

from examples.models import VENDORS, choose, open_model
from outlast import Fail

KEYS = [variable for variables, _ in VENDORS.values() for variable in variables]


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({}, "outlast-offline"),
        ({"OUTLAST_MODEL": " "}, "outlast-offline"),
        ({"OPENAI_API_KEY": ""}, "outlast-offline"),
        ({"OUTLAST_MODEL": "offline", "OPENAI_API_KEY": "k"}, "outlast-offline"),
        ({"OUTLAST_MODEL": "openai:gpt-x"}, "openai:gpt-x"),
        ({"OUTLAST_MODEL": "anthropic:claude-x", "OPENAI_API_KEY": "k"}, "anthropic:claude-x"),
        ({"OUTLAST_MODEL": "ollama:qwen3:8b"}, "ollama:qwen3:8b"),
        ({"OUTLAST_MODEL": "grok"}, f"grok:{VENDORS['grok'][1]}"),
        ({"ANTHROPIC_API_KEY": "k", "OPENAI_API_KEY": "k"}, f"anthropic:{VENDORS['anthropic'][1]}"),
        ({"OPENAI_API_KEY": "k"}, f"openai:{VENDORS['openai'][1]}"),
        ({"GEMINI_API_KEY": "k"}, f"google:{VENDORS['google'][1]}"),
        ({"GOOGLE_API_KEY": "k"}, f"google:{VENDORS['google'][1]}"),
        ({"GROK_API_KEY": "k"}, f"grok:{VENDORS['grok'][1]}"),
        ({"XAI_API_KEY": "k"}, f"grok:{VENDORS['grok'][1]}"),
    ],
)
def test_a_model_is_chosen(environment: dict[str, str], name: str) -> None:
    choice = choose(environment)

    assert choice.name == name
    assert choice.offline == (name == "outlast-offline")


def test_an_unknown_vendor_is_refused_with_the_list_of_known_ones() -> None:
    with pytest.raises(Fail, match="'acme'") as refused:
        choose({"OUTLAST_MODEL": "acme:x"})
    assert all(vendor in str(refused.value.advice) for vendor in VENDORS)


@pytest.mark.parametrize("vendor", ["anthropic", "openai", "google", "grok"])
def test_a_missing_key_is_named(vendor: str) -> None:
    with pytest.raises(Fail, match=f"No key for {vendor}") as refused:
        open_model(choose({"OUTLAST_MODEL": f"{vendor}:m"}), {})
    assert all(variable in str(refused.value.advice) for variable in VENDORS[vendor][0])


@pytest.mark.parametrize("vendor", VENDORS)
async def test_every_vendor_opens_with_its_sdk_and_without_the_sdks_own_retries(vendor: str) -> None:
    async with open_model(choose({"OUTLAST_MODEL": f"{vendor}:m"}), dict.fromkeys(KEYS, "a-key")) as model:
        assert model.model_name == "m"
        assert getattr(model.client, "max_retries", 0) == 0  # type: ignore[attr-defined]


async def test_grok_and_ollama_are_reached_over_the_openai_protocol() -> None:
    grok = open_model(choose({"OUTLAST_MODEL": "grok:m"}), {"XAI_API_KEY": "k"})
    ollama = open_model(choose({"OUTLAST_MODEL": "ollama:m"}), {"OLLAMA_BASE_URL": "http://127.0.0.1:9/v1"})

    async with grok, ollama:
        assert grok.base_url == "https://api.x.ai/v1/"
        assert ollama.base_url == "http://127.0.0.1:9/v1/"
