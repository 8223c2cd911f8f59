"""The language models of a compile, and the limits on requests to each."""

import re
from typing import Final, Self

from pydantic import ConfigDict, Field, model_validator

from swarm_wire.spec.parameters import REGIONS, Parameters
from swarm_wire.spec.references import SecretKeyRef
from swarm_wire.spec.schema import MODEL, URL, Name, SpecModel
from swarm_wire.words import is_slip_of


class ApiKey(SpecModel):
    """Where an API key is kept."""

    secret: SecretKeyRef = Field(
        description="Key of a Secret. Pods receive its value as an environment variable; the operator never reads it."
    )


class Price(SpecModel):
    """Prices in USD for a million tokens."""

    prompt: float = Field(ge=0, le=1e6, description="Price of the request, in USD for a million tokens.")
    completion: float = Field(ge=0, le=1e6, description="Price of the answer, in USD for a million tokens.")


class ProviderLimits(SpecModel):
    """How fast all pods together may send requests to a provider. No minute exceeds these limits."""

    requests_per_minute: int | None = Field(None, ge=1, description="Requests per minute, repeated requests included.")
    tokens_per_minute: int | None = Field(
        None,
        ge=1,
        description="Prompt and completion tokens per minute, together. The model must have parameters.maxTokens.",
    )
    concurrency: int | None = Field(None, ge=1, description="Requests under way at the same time.")
    group: Name | None = Field(
        None,
        description="All models of this namespace's Compilations that name the same group share one limit. If they "
        "name different figures, the smallest applies. Default: the limit is for this model of this "
        "Compilation alone.",
    )

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if self.requests_per_minute is self.tokens_per_minute is self.concurrency is None:
            raise ValueError("one of requestsPerMinute, tokensPerMinute and concurrency must be set")
        return self


class Model(SpecModel):
    """A language model of any provider that LiteLLM supports."""

    model: str = Field(
        pattern=MODEL,
        max_length=253,
        description='"provider/model", as DSPy writes it: "openai/gpt-4o-mini".',
    )
    endpoint: str | None = Field(
        None,
        pattern=URL,
        max_length=1024,
        description='Base URL, for example "https://api.openai.com/v1". Default: the provider\'s own.',
    )
    api_key: ApiKey | None = Field(
        None,
        description="API key of the model. Without it, the client may find a key in the provider's own environment "
        "variable (see env), or the platform may know the pod by its service account or its instance's "
        "role.",
    )
    parameters: Parameters = Field(default_factory=Parameters)
    price: Price | None = Field(
        None, description="Price of the model, in USD for a million tokens. Default: the price in DSPy's list."
    )
    limits: ProviderLimits | None = Field(
        None,
        description="How fast the pods may send requests to the provider. Default: as fast as they can, until the "
        "provider refuses requests.",
    )

    @property
    def provider(self) -> str:
        return self.model.partition("/")[0]

    @property
    def address(self) -> str:
        """Returns the endpoint; an empty text means the provider's own endpoint."""
        return (self.endpoint or "").rstrip("/")

    @model_validator(mode="after")
    def _region_has_a_use(self) -> Self:
        if self.parameters.region is not None and self.provider not in REGIONS:
            raise ValueError(f"parameters.region may be set only with {', '.join(REGIONS)}, not with {self.provider}")
        return self


_MODEL_NAME: Final = re.compile("[a-z][a-z0-9_]{0,31}")


class Models(SpecModel):
    """The language models of a compile. student must be set, because the program is compiled for it. teacher makes
    demonstrations. prompt writes instructions (miprov2, copro, simba, gepa). extraction reads answers for
    program.adapter.twoStep. Each of these is the student if it is not set. Other models have names of your own, and the
    program gets them by swarm_worker.lm.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Model]

    student: Model = Field(description="The model that the program is compiled for.")
    teacher: Model | None = Field(None, description="The model that makes demonstrations. Default: the student.")
    prompt: Model | None = Field(
        None,
        description="The model that writes instructions (miprov2, copro, simba, gepa). Default: the student.",
    )

    extraction: Model | None = Field(
        None, description="The model with which program.adapter.twoStep reads answers. Default: the student."
    )

    @model_validator(mode="after")
    def _further_ones_have_names(self) -> Self:
        for name in self.__pydantic_extra__:
            if not _MODEL_NAME.fullmatch(name):
                raise ValueError(
                    f"{name!r} is no name of a model: write at most 32 lower-case letters, digits and _, a letter first"
                )
            if meant := next((role for role in type(self).model_fields if is_slip_of(name, role)), None):
                raise ValueError(
                    f"{name!r} is so like {meant!r} that it may be a slip: write {meant}, or give a further model a "
                    "name that is less like it"
                )
        return self

    @property
    def by_role(self) -> dict[str, Model]:
        """Returns role -> model, for all models in the spec.

        If a user has named a model, its role is this name.
        """
        models = {role: getattr(self, role) for role in type(self).model_fields}
        return {role: model for role, model in models.items() if model is not None} | self.__pydantic_extra__

    def with_limits_of(self, other: "Models") -> "Models":
        """Returns the same models with the limits that the other models have in the same roles."""
        known = other.by_role
        found = {
            role: model.model_copy(update={"limits": known[role].limits})
            for role, model in self.by_role.items()
            if role in known
        }
        return self.model_copy(update=found)
