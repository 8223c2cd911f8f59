"""Parameters of every call to a model, and the arguments of dspy.LM that they become."""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, model_validator

from swarm_wire.spec.schema import EFFORT, SpecModel, api_name

REGIONS: Final = {
    "bedrock": "aws_region_name",
    "sagemaker": "aws_region_name",
    "sagemaker_chat": "aws_region_name",
    "vertex_ai": "vertex_location",
}
"""Provider -> the name of its argument for the region."""
_ARGUMENTS: Final = {
    "temperature": "temperature",
    "max_tokens": "max_tokens",
    "top_p": "top_p",
    "timeout_seconds": "timeout",
    "num_retries": "num_retries",
    "seed": "seed",
    "stop": "stop",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "reasoning_effort": "reasoning_effort",
    "model_type": "model_type",
    "api_version": "api_version",
    "headers": "headers",
    "body": "extra_body",
}
"""Field -> the argument of dspy.LM that it becomes.

`region` is not here, since its argument depends on the provider.
"""
_ELSEWHERE: Final = {
    **{argument: f"parameters.{api_name(field)}" for field, argument in _ARGUMENTS.items()},
    **dict.fromkeys(REGIONS.values(), "parameters.region"),
    "extra_headers": "parameters.headers",
    "api_base": "endpoint",
    "base_url": "endpoint",
    "api_key": "apiKey",
    "model": "model",
}
_NOT_A_MODELS: Final = frozenset({"cache", "callbacks", "provider", "engine", "async_engine", "prompt_cache", "n"})
_NOT_IN_A_BODY: Final = frozenset({"model", "messages", "n", "stream"})
_SECRET: Final = re.compile(
    r"secret|password|credential|authorization|(api|subscription|private|functions)[-_]?key|access[-_]?key$|token$"
    r"|^cookie$|(^|[-_])auth$",
    re.IGNORECASE,
)
_REGION_PROVIDERS: Final = ", ".join(REGIONS)


class Parameters(SpecModel):
    """Parameters of every call to a model."""

    temperature: float | None = Field(
        None, ge=0, le=2, description="Temperature of the answers. Default: the provider's."
    )
    max_tokens: int | None = Field(
        None, ge=1, description="Largest number of tokens of one answer. Default: the provider's."
    )
    top_p: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Total probability of the tokens from which an answer is sampled. Default: the provider's.",
    )
    num_retries: int = Field(
        3,
        ge=0,
        le=20,
        description="How often a call is repeated after a timeout or a server error. After a refusal for its rate, a "
        "call only waits.",
    )
    timeout_seconds: int | None = Field(
        None, ge=1, le=3600, description="Longest wait for one answer, in seconds. Default: 600."
    )
    seed: int | None = Field(None, ge=0, description="Seed that the provider gets. Default: none.")
    stop: list[Annotated[str, Field(min_length=1, max_length=256)]] | None = Field(
        None, min_length=1, max_length=16, description="Texts at which the provider ends an answer. Default: none."
    )
    presence_penalty: float | None = Field(
        None, ge=-2, le=2, description="Penalty on tokens that the text already has. Default: the provider's."
    )
    frequency_penalty: float | None = Field(
        None,
        ge=-2,
        le=2,
        description="Penalty on tokens by how often the text already has them. Default: the provider's.",
    )
    reasoning_effort: str | None = Field(
        None,
        pattern=EFFORT,
        max_length=16,
        description="How much a reasoning model thinks: minimal, low, medium, high, or another word that the provider "
        "knows.",
    )
    model_type: Literal["chat", "text", "responses"] | None = Field(
        None, description="Which API of the provider is used. Default: chat."
    )
    api_version: str | None = Field(
        None, min_length=1, max_length=64, description='API version of Azure, for example "2024-10-21".'
    )
    region: str | None = Field(
        None, min_length=1, max_length=64, description=f"Region of the model. Only for {_REGION_PROVIDERS}."
    )
    headers: dict[str, Annotated[str, Field(max_length=1024)]] | None = Field(
        None,
        max_length=32,
        description="Further HTTP headers of each request. Do not put keys here: anybody can read a spec.",
    )
    body: dict[str, Any] | None = Field(
        None,
        max_length=64,
        description="Further fields of each request's JSON body (LiteLLM's extra_body), passed on unchanged. Do not "
        "put keys here: anybody can read a spec.",
    )
    more: dict[str, Any] | None = Field(
        None,
        max_length=64,
        description="Further arguments of dspy.LM, by their Python names, passed on unchanged. LiteLLM must know them "
        "for the provider, for example vertex_project. Do not put keys here: anybody can read a spec.",
    )

    @model_validator(mode="after")
    def _no_argument_has_two_fields(self) -> Self:
        for name in self.more or {}:
            if name in _ELSEWHERE:
                raise ValueError(f"more.{name} has a field of its own: write {_ELSEWHERE[name]}")
            if name in _NOT_A_MODELS:
                raise ValueError(f"more.{name} may not be set: it is not the model's, or a run needs it as it is")
        for name in _NOT_IN_A_BODY.intersection(self.body or {}):
            raise ValueError(f"body.{name} may not be set: a run needs it as it is")
        return self

    @model_validator(mode="after")
    def _holds_no_secret(self) -> Self:
        for path in _paths({"headers": self.headers, "body": self.body, "more": self.more}):
            if _SECRET.search(path[-1]):
                raise ValueError(
                    f"{'.'.join(path)} is for a secret, and anybody can read a spec. Write apiKey, or give it as an "
                    "environment variable by spec.env"
                )
        return self

    def arguments(self, provider: str) -> dict[str, Any]:
        """Returns the arguments for dspy.LM.

        Args:
            provider: the part of the model's name before the first slash.
        """
        given = {argument: getattr(self, field) for field, argument in _ARGUMENTS.items()}
        if self.region is not None:
            given[REGIONS[provider]] = self.region
        return {**{name: value for name, value in given.items() if value is not None}, **(self.more or {})}


def _paths(value: Any, *path: str) -> Iterator[tuple[str, ...]]:
    """Yields the path of each field of a JSON value, at any depth."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield (*path, str(name))
            yield from _paths(inner, *path, str(name))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _paths(inner, *path, str(number))
