"""What a trigger's pods look at, and what they find."""

import re
from typing import Annotated, Final

from pydantic import Field

from swarm_wire.message_base import Message
from swarm_wire.spec.git import GitSource
from swarm_wire.spec.references import SecretKeyRef


class Watch(Message):
    """What a watch pod looks at: a branch of a git repository, and some of its files.

    Attributes:
        field: path of the repository in the trigger's spec, for messages.
        source: the repository and the branch. Its `path` has no meaning here.
        paths: the watched files and folders. Empty: all files.
        without: files and folders among them that are not watched.
    """

    field: str
    source: GitSource
    paths: list[str] = Field([])
    without: list[str] = Field([])


MODEL_NAME: Final = re.compile(r"[A-Za-z0-9_]{1,32}/[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,95}")
"""Names of models in a list. A name of another form is passed over."""
MOST_LISTED: Final = 50
"""Largest number of models that a look may find."""


class ModelWatch(Message):
    """What a look lists: the models of a provider.

    Attributes:
        field: path of the model in the trigger's spec whose provider this is, for messages.
        role: its key in spec.models.
        provider: the part of DSPy's name before the slash.
        base: URL before /models.
        pattern: a name must fit it, as in a shell.
        secret: where the API key is; None for none.
    """

    field: str
    role: str
    provider: str
    base: str
    pattern: str
    secret: SecretKeyRef | None = None

    @property
    def is_anthropic(self) -> bool:
        return self.provider == "anthropic"


ListedModel = Annotated[str, Field(pattern=f"^{MODEL_NAME.pattern}$")]


class Watched(Message):
    """What a watch pod has found.

    Attributes:
        commit: id of the branch's newest commit.
        digest: sha256 over names, modes and contents of the watched files.
    """

    commit: str = Field(max_length=64)
    digest: str = Field(max_length=64)
