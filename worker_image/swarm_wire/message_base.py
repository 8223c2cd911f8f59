"""The base class of all messages between operator and pods: pydantic models with JSON in camelCase."""

from math import isfinite
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
"""A digest: blake2b-128 of some content, in hex."""
MOST = 2**53
"""Largest figure of a Usage or Spending. JSON holds it exactly, and it exceeds any real figure, so sums stop there."""
Figure = Annotated[int, Field(ge=0, le=MOST)]


def _finite(score: Any) -> Any:
    """Returns None in place of NaN or infinity, which a metric may compute and JSON cannot hold."""
    return None if isinstance(score, float) and not isfinite(score) else score


Score = Annotated[float | None, BeforeValidator(_finite)]


class Message(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)

    def to_header(self) -> dict[str, Any]:
        """Returns this message as the header of a record: JSON values, without unset fields."""
        return self.model_dump(by_alias=True, mode="json", exclude_none=True)

    def to_json(self) -> str:
        return self.model_dump_json(by_alias=True, exclude_none=True)
