"""The examples and their sources."""

from typing import Annotated, Final

from pydantic import Field

from swarm_wire.spec.references import ClaimRef, ConfigMapKeyRef, SecretKeyRef, StorageOptions
from swarm_wire.spec.schema import DATA_URL, PATH, Entrypoint, SpecModel, Union, only_with

SETS: Final = ("train", "validation", "test")
"""The fields of spec.data that have examples."""


class VolumeFile(ClaimRef):
    """A file on a PersistentVolumeClaim in the Compilation's namespace."""

    path: str = Field(
        pattern=PATH,
        max_length=1024,
        description='Path of the file, from the top of the volume: "tickets/train.jsonl".',
    )


class DataSource(Union):
    """A list of examples, which comes from exactly one place."""

    others = ("limit", "options")
    rules = (only_with("options", "url"),)
    config_map: ConfigMapKeyRef | None = Field(
        None,
        description="A file in a ConfigMap: JSONL (.jsonl), a list in JSON (.json), CSV (.csv) or Parquet (.parquet).",
    )
    path: str | None = Field(
        None,
        min_length=1,
        max_length=1024,
        description="A JSONL, JSON, CSV or Parquet file. A relative path begins at the top of program.source. Without "
        "a source, it begins at the folder of the YAML, or in a cluster at the image's working directory.",
    )
    volume: VolumeFile | None = Field(
        None,
        description="A file on a volume, of the same formats. Pods mount the volume read-only. With several nodes, it "
        "must be ReadOnlyMany or ReadWriteMany. A laptop cannot read it.",
    )
    url: str | None = Field(
        None,
        pattern=DATA_URL,
        max_length=1024,
        description="A file at a URL of https, s3, gs, az, abfs or hf, of the same formats: "
        '"s3://bucket/train.parquet". A pod fetches it once per run. Put credentials into options, not into the URL.',
    )
    options: StorageOptions | None = Field(
        None, description="Credentials and other options for the url, as fsspec's file system takes them."
    )
    entrypoint: Entrypoint | None = Field(
        None,
        description='"module:attribute" of a function without arguments that returns a list of dspy.Example, or of '
        "dicts. It must return the same examples in the same order each time.",
    )
    limit: int | None = Field(None, ge=1, description="Use only this number of examples, the first ones.")


class Data(SpecModel):
    """The examples from which the optimizer learns, and on which it scores candidates."""

    inputs: list[Annotated[str, Field(min_length=1, max_length=253)]] | None = Field(
        None,
        min_length=1,
        max_length=64,
        description="Fields of an example that the program receives; the other fields are for the metric. Examples "
        "from files and dicts need it. Default: the inputs that each dspy.Example names by with_inputs.",
    )
    train: DataSource = Field(
        description="Examples to learn from: the optimizer makes demonstrations of them. copro and simba also score "
        "candidates on them."
    )
    validation: DataSource | None = Field(
        None,
        description="Examples on which most optimizers score candidates. Default: as in stock DSPy without a valset. "
        "miprov2 then scores on the last 80 % of the training examples, and inferRules on the last half; "
        "both learn from the others. All other optimizers then score on all training examples.",
    )
    test: DataSource | None = Field(
        None,
        description="Examples that the optimizer never sees. The report has the scores of baseline and winner on them.",
    )

    @property
    def sources(self) -> dict[str, DataSource]:
        """Returns the sources that are set, by their fields: train, validation, test."""
        found = {name: getattr(self, name) for name in SETS}
        return {name: source for name, source in found.items() if source is not None}

    @property
    def urls(self) -> dict[str, str]:
        """Returns the URLs from which a run fetches data, by their fields: train, validation, test."""
        return {name: source.url for name, source in self.sources.items() if source.url is not None}

    @property
    def url_secrets(self) -> dict[str, SecretKeyRef]:
        """Returns where the options for these URLs are, by the same fields."""
        return {name: source.options.secret for name, source in self.sources.items() if source.options is not None}
