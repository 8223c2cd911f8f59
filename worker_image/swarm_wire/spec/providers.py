"""Where providers list their models."""

from typing import Final

from swarm_wire.spec.models import Model

LISTS: Final = {
    "anthropic": "https://api.anthropic.com/v1",
    "cerebras": "https://api.cerebras.ai/v1",
    "deepseek": "https://api.deepseek.com",
    "gemini": "https://generativelanguage.googleapis.com/v1beta/openai",
    "groq": "https://api.groq.com/openai/v1",
    "mistral": "https://api.mistral.ai/v1",
    "openai": "https://api.openai.com/v1",
    "openrouter": "https://openrouter.ai/api/v1",
    "xai": "https://api.x.ai/v1",
}
"""Provider -> URL whose `/models` is its list."""
_OTHERS: Final = ("azure", "azure_ai", "bedrock", "sagemaker", "vertex_ai", "vertex_ai_beta")
"""Their lists need other protocols."""


def model_list(model: Model) -> str | None:
    """Returns the URL whose `/models` lists the models of the same provider; None if it has no such list."""
    if model.provider in _OTHERS:
        return None
    if model.endpoint is None:
        return LISTS.get(model.provider)
    # LiteLLM adds /v1 to these endpoints itself. Ollama has a form of OpenAI's API there.
    adds = model.provider in ("anthropic", "ollama", "ollama_chat") and not model.address.endswith("/v1")
    return f"{model.address}/v1" if adds else model.address
