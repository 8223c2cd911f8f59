"""A message about a problem of a spec says what is wrong and what to write."""

from typing import Any

import pytest
from pydantic import ValidationError

from support.wire_spec import a_spec
from swarm_wire.messages import RunRequest
from swarm_wire.spec.compilation import CompilationSpec
from swarm_wire.spec.problems import parse, problems
from swarm_wire.spec.schema import FORMS


def said(**changes: Any) -> list[str]:
    with pytest.raises(ValidationError) as error:
        parse(a_spec(**changes))
    return [str(problem) for problem in problems(error.value)]


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        # The spec has an unknown field.
        ("metric.rnge", {}, "spec.metric.rnge is not a field. Did you mean range?"),
        ("metric.Range", {}, "spec.metric.Range is not a field. Did you mean range?"),
        ("optimizer", {"bootstrapFewShot": {"max_bootstrapped_demos": 2}},
         "spec.optimizer.bootstrapFewShot.max_bootstrapped_demos is not a field. Did you mean maxBootstrappedDemos?"),
        ("models.student.max_tokens", 9,
         "spec.models.student.max_tokens is not a field. Did you mean parameters.maxTokens?"),
        ("swarm", {"tolerations": [{"kee": "gpu"}]}, "spec.swarm.tolerations.0.kee is not a field. Did you mean key?"),
        ("models.judge", {"model": "openai/m", "endpont": "http://a"},
         "spec.models.judge.endpont is not a field. Did you mean endpoint?"),
        ("models.judge", {"model": "openai/m", "zzz": 1},
         "spec.models.judge.zzz is not a field. Its fields: model, endpoint, apiKey, parameters, price, limits."),
        ("metric.zzz", 1, "spec.metric.zzz is not a field. Its fields: entrypoint, range."),
        # A field has a wrong value.
        ("program.entrypoint", "triage",
         'spec.program.entrypoint must be "module:attribute", for example "triage:Triage" (it is \'triage\')'),
        ("swarm", {"pods": 0}, "spec.swarm.pods must be greater than or equal to 1 (it is 0)"),
        ("swarm", {"pruning": "of"}, "spec.swarm.pruning must be 'exact' or 'off' (it is 'of')"),
        ("data.train", {}, "spec.data.train: exactly one of configMap, path, volume, url, entrypoint must be set"),
        ("models.student", {"endpoint": "http://a"},
         'spec.models.student.model is missing: "provider/model", as DSPy writes it: "openai/gpt-4o-mini"'),
        ("artifact", {"git": {"url": "https://a/b", "branch": "main"}},
         "spec.artifact.git.path is missing: Folder of program.json, report.json and report.md"),
        ("metric", "triage:exact", "spec.metric must be an object: {entrypoint}"),
        (
            "data.train",
            "a.jsonl",
            "spec.data.train must be an object with configMap, path, volume, url, options, entrypoint, limit",
        ),
        ("models", {"student": "openai/m"}, "spec.models.student must be an object: {model}"),
        # A field has a secret in place of a reference to it.
        ("models.student.apiKey", "sk-live-1", "spec.models.student.apiKey must be an object: {secret: {name, key}}"),
        ("models.judge", {"model": "openai/m", "apiKey": {"secret": "sk-live-1"}},
         "spec.models.judge.apiKey.secret must be an object: {name, key}"),
        ("models.student.apiKey", {"secret": {"name": "keys", "key": "sk/live"}},
         'spec.models.student.apiKey.secret.key must be a key: letters, digits, "-", "_" and "."'),
        ("env", [{"name": "A", "value": 1234567}], "spec.env.0.value must be a valid string"),
    ],
)  # fmt: skip
def test_the_description_of_a_problem_says_what_to_write(field: str, value: Any, says: str) -> None:
    assert said(**{field: value}) == [says]


def test_a_missing_object_is_described_by_the_fields_that_it_must_have() -> None:
    with pytest.raises(ValidationError) as error:
        parse({})
    assert [str(problem) for problem in problems(error.value)][:2] == [
        "spec.program is missing: {entrypoint}",
        "spec.metric is missing: {entrypoint}",
    ]


def test_every_text_pattern_has_a_description_in_words() -> None:
    def patterns(schema: Any) -> set[str]:
        inner = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
        own = {schema["pattern"]} if isinstance(schema, dict) and isinstance(schema.get("pattern"), str) else set()
        return own.union(*map(patterns, inner))

    assert patterns(CompilationSpec.model_json_schema()) == set(FORMS)


def test_problems_of_a_runs_request_are_worded_like_problems_of_a_spec() -> None:
    with pytest.raises(ValidationError) as error:
        RunRequest.model_validate({"runId": "a", "name": "b", "spec": a_spec(**{"swarm": {"pods": 0}})})
    assert [str(problem) for problem in problems(error.value)] == [
        "spec.swarm.pods must be greater than or equal to 1 (it is 0)"
    ]


def test_a_problem_with_a_url_does_not_show_the_credentials_in_it() -> None:
    [found] = said(**{"program.source": {"git": {"url": "https://alice:secret-4711@git.example.com/app.git"}}})
    assert "secret-4711" not in found
    assert "https://...@git.example.com/app.git" in found
