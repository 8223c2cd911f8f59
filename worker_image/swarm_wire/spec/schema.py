"""Building blocks of a spec's models: strings with a pattern, and rules about fields that may be set together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
KEY = r"^[-._a-zA-Z0-9]+$"
_DOTTED = r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*"
ENTRYPOINT = f"{_DOTTED}:{_DOTTED}"
"""The part of a pattern that matches an entrypoint. A pattern that uses it adds the anchors ^ and $."""
QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"
MODEL = r"^[^/\s]+/\S+$"
URL = r"^https?://\S+$"
GIT_URL = (
    r"^(https?://[A-Za-z0-9][-A-Za-z0-9.:]*/[^\s@]+"
    r"|ssh://([-A-Za-z0-9._]+@)?[A-Za-z0-9][-A-Za-z0-9.:]*/\S+"
    r"|[A-Za-z0-9][-A-Za-z0-9._]*@[A-Za-z0-9][-A-Za-z0-9.]*:[^/\s]\S*)$"
)
BRANCH = r"^[A-Za-z0-9_][-A-Za-z0-9_./]*$"
PERSON = r"^[^<>\n]+$"
EMAIL = r"^[^<>\s]+$"
COMMIT = r"^[0-9a-f]{40}$"
REPOSITORY = r"^[A-Za-z0-9][-A-Za-z0-9._]*(/[A-Za-z0-9][-A-Za-z0-9._]*)?$"
DATA_URL = r"^(https://[^\s/@?#]+|(s3|gs|az|hf)://[^\s/@:?#]+|abfs://[^\s/:?#]+)/\S+$"
STORE = r"^[a-z][a-z0-9+.-]*://\S+$"
SELECTOR = f"^(round_robin|all|{ENTRYPOINT})$"
STRATEGY = "^(p -> )*w( -> [pw])*$"

VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"
EFFORT = "^[a-z]{1,16}$"
PATH = r"^[-_A-Za-z0-9][-._A-Za-z0-9]*(/[-_A-Za-z0-9][-._A-Za-z0-9]*)*$"

FORMS: Mapping[str, str] = {
    NAME: 'a name of Kubernetes: lower-case letters, digits, "-" and "."',
    KEY: 'a key: letters, digits, "-", "_" and "."',
    f"^{ENTRYPOINT}$": '"module:attribute", for example "triage:Triage"',
    QUANTITY: 'a quantity, for example "500m" or "2Gi"',
    MODEL: '"provider/model", for example "openai/gpt-4o-mini"',
    URL: 'a URL, for example "https://api.openai.com/v1"',
    PATH: 'a path: names of letters, digits, "-", "_" and ".", with "/" between them',
    GIT_URL: "a git URL without credentials, for example "
    '"https://github.com/acme/app.git" or "git@github.com:acme/app.git"',
    BRANCH: 'a name of a branch or tag: letters, digits, "-", "_", "." and "/"',
    PERSON: 'a name: one line, without "<" and ">"',
    EMAIL: 'an email address, for example "bot@example.com"',
    REPOSITORY: 'a name of weights, for example "Qwen/Qwen3-0.6B"',
    COMMIT: "the id of a commit: 40 hex digits",
    STORE: 'a URL, for example "s3://bucket/folder"',
    DATA_URL: "a URL of https, s3, gs, az, abfs or hf, without credentials, for example "
    '"https://example.com/train.jsonl" or "s3://bucket/train.parquet"',
    VARIABLE: "a name of an environment variable: letters, digits and _, no digit first",
    EFFORT: 'one word of lower-case letters, for example "low"',
    STRATEGY: 'p and w with " -> " between them, and at least one w, for example "p -> w -> p"',
    SELECTOR: 'round_robin, all, or "module:attribute"',
}
"""Pattern -> its description. Messages show the description to people instead of the pattern."""

Name = Annotated[str, Field(pattern=NAME, max_length=253)]
"""Name of a Kubernetes object: a DNS-1123 subdomain."""
Key = Annotated[str, Field(pattern=KEY, max_length=253)]
"""Key in a ConfigMap or Secret."""
Entrypoint = Annotated[
    str,
    Field(
        pattern=f"^{ENTRYPOINT}$",
        max_length=253,
        description='"module:attribute", for example "triage:Triage".',
    ),
]
Quantity = Annotated[str, Field(pattern=QUANTITY, max_length=32)]
_UNITS: Final = {
    "m": Fraction(1, 1000),
    **{unit: Fraction(1000**power) for power, unit in enumerate(("", "k", "M", "G", "T"))},
    **{unit: Fraction(1024**power) for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti"), 1)},
}
Percentage = Annotated[float, Field(ge=0, le=100)]


HIGHEST = 2**31 - 1
"""Largest integer in a field that sets no maximum. A user who writes a larger number has made a typing error."""


def amount(quantity: str) -> Fraction:
    """Returns the number that a Kubernetes quantity such as 100m stands for."""
    number = quantity.rstrip("".join(_UNITS))
    return Fraction(number) * _UNITS[quantity.removeprefix(number)]


def _bounded(schema: dict[str, Any]) -> None:
    """Adds the maximum HIGHEST to the integers of a model's JSON schema that have no maximum."""
    for field in schema.get("properties", {}).values():
        for choice in (field, *field.get("anyOf", ())):
            if choice.get("type") == "integer":
                choice.setdefault("maximum", HIGHEST)


def api_name(field: str) -> str:
    """Returns a field's name in the API.

    A field has an underscore at its end if pydantic uses the API's name itself.
    """
    return to_camel(field.rstrip("_"))


@dataclass(frozen=True)
class Rule:
    """Says which fields of an object may be set together: for people, for Kubernetes (CEL), and for Python.

    Attributes:
        fields: the fields of the rule, in snake_case.
        message: tells people what to write.
        cel: the rule as a CEL expression over `self`, an object of the API.
        holds: whether the rule holds for the fields that are set, in the order of `fields`.
    """

    fields: tuple[str, ...]
    message: str
    cel: str
    holds: Callable[[Sequence[str]], bool]


def exactly_one(*fields: str) -> Rule:
    """Returns the rule that exactly one of the fields must be set."""
    names = [api_name(field) for field in fields]
    if len(fields) == 1:
        return Rule(fields, f"{names[0]} must be set", f"has(self.{names[0]})", bool)
    given = ", ".join(f"has(self.{name})" for name in names)
    message = f"exactly one of {', '.join(names)} must be set"
    return Rule(fields, message, f"[{given}].exists_one(given, given)", lambda given: len(given) == 1)


def one_or_both(one: str, left: str, right: str) -> Rule:
    """Returns the rule that either the first field may be set, or both of the others, or none of the three."""
    first, second, third = (api_name(field) for field in (one, left, right))
    return Rule(
        (one, left, right),
        f"set {first}, or both of {second} and {third}",
        f"has(self.{first}) ? !has(self.{second}) && !has(self.{third}) : has(self.{second}) == has(self.{third})",
        lambda given: tuple(given) in ((), (one,), (left, right)),
    )


def only_with(field: str, other: str) -> Rule:
    """Returns the rule that the field may be set only if the other field is set."""
    name, needed = api_name(field), api_name(other)
    return Rule(
        (field, other),
        f"{name} may be set only with {needed}",
        f"!has(self.{name}) || has(self.{needed})",
        lambda given: field not in given or other in given,
    )


class SpecModel(BaseModel):
    """An object of the spec. Its `rules` express what the types of its fields cannot."""

    model_config = ConfigDict(
        alias_generator=api_name, populate_by_name=True, extra="forbid", frozen=True, json_schema_extra=_bounded
    )
    rules: ClassVar[tuple[Rule, ...]] = ()

    def as_written(self) -> dict[str, Any]:
        """Returns the object as JSON values with camelCase names."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    @model_validator(mode="after")
    def _numbers_are_bounded(self) -> Self:
        for name, field in type(self).model_fields.items():
            value, bounded = getattr(self, name), any(hasattr(limit, "le") for limit in field.metadata)
            if isinstance(value, int) and value > HIGHEST and not bounded:
                raise ValueError(f"{field.alias} must be at most {HIGHEST}")
        return self

    @model_validator(mode="after")
    def _rules_hold(self) -> Self:
        for rule in self.rules:
            given = [field for field in rule.fields if getattr(self, field) is not None]
            if not rule.holds(given):
                wrong = f", not {', '.join(map(api_name, given))}" if given else ""
                raise ValueError(rule.message + wrong)
        return self


class Union(SpecModel):
    """A model of which exactly one member is set. `which` is the name of this member.

    Each field whose default is None is a member, except the fields in `others`. So a new field is a new member.
    """

    others: ClassVar[tuple[str, ...]] = ()
    members: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        optional = (name for name, field in cls.model_fields.items() if field.default is None)
        cls.members = tuple(name for name in optional if name not in cls.others)
        cls.rules = (exactly_one(*cls.members), *cls.rules)

    @property
    def which(self) -> str:
        return next(name for name in self.members if getattr(self, name) is not None)
