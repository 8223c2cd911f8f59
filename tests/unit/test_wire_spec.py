"""The models of a DSPyCompilation's spec accept valid fields, refuse others, and say what the fields mean."""

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError
from pydantic.alias_generators import to_camel

from support.wire_spec import a_spec
from swarm_wire.rates import RateLimit, rate_limits
from swarm_wire.spec import optimizers
from swarm_wire.spec.compilation import CompilationSpec
from swarm_wire.spec.models import Models
from swarm_wire.spec.references import ConfigMapKeyRef, ConfigMapRef, SecretKeyRef
from swarm_wire.spec.schema import SpecModel, Union, amount


def parsed(**changes: Any) -> CompilationSpec:
    return CompilationSpec.model_validate(a_spec(**changes))


def problems(**changes: Any) -> list[str]:
    with pytest.raises(ValidationError) as refused:
        parsed(**changes)
    return [".".join(map(str, problem["loc"])) + ": " + problem["msg"] for problem in refused.value.errors()]


def test_the_smallest_spec_is_valid_and_is_written_back_unchanged() -> None:
    spec = parsed()
    assert spec.as_written()["data"] == a_spec()["data"]
    assert CompilationSpec.model_validate(spec.as_written()) == spec


@pytest.mark.parametrize("left_out", ["inputs", "validation"])
def test_fields_that_stock_does_not_need_may_be_omitted(left_out: str) -> None:
    data = a_spec()["data"]
    del data[left_out]
    spec = parsed(data=data)
    assert getattr(spec.data, left_out) is None
    assert spec.as_written()["data"] == data


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("a", True), ("a.b-c.0", True), ("a..b", False), ("a.-b", False), ("a-.b", False), (".a", False), ("A", False)],
)
def test_names_in_a_spec_follow_the_rules_of_kubernetes(name: str, is_one: bool) -> None:
    """If only Kubernetes refused a name, at the write of the artifact, the whole compile would be lost."""
    given = a_spec(artifact={"configMap": {"name": name}})
    if is_one:
        CompilationSpec.model_validate(given)
    else:
        with pytest.raises(ValidationError, match="pattern"):
            CompilationSpec.model_validate(given)


@pytest.mark.parametrize(
    ("where", "value", "given"),
    [
        ("optimizer", {}, ""),
        ("optimizer", {"bootstrapFewShot": {}, "labeledFewShot": {}}, ", not bootstrapFewShot, labeledFewShot"),
        ("program.source", {}, ""),
        ("data.train", {}, ""),
        ("data.train", {"limit": 3}, ""),
        ("data.test", {"path": "/a.csv", "entrypoint": "a:b"}, ", not path, entrypoint"),
        ("program.adapter", {}, ""),
        ("program.adapter", {"json": {}, "twoStep": {}}, ", not json, twoStep"),
        ("journal", {}, ""),
        ("journal", {"url": "s3://a", "persistentVolumeClaim": {"claimName": "a"}}, ", not persistentVolumeClaim, url"),
    ],
)
def test_a_union_in_the_spec_needs_exactly_one_member(where: str, value: dict[str, Any], given: str) -> None:
    choices = {
        "optimizer": ", ".join(map(to_camel, optimizers.Optimizer.members)),
        "program.source": "configMap, git",
        "program.adapter": "chat, json, xml, twoStep, entrypoint",
        "journal": "persistentVolumeClaim, url",
    }.get(where, "configMap, path, volume, url, entrypoint")
    assert problems(**{where: value}) == [f"{where}: Value error, exactly one of {choices} must be set{given}"]


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        ({"student": {"limits": {"requestsPerMinute": 600}}}, None),
        ({"student": {"limits": {"tokensPerMinute": 9, "group": "gpt"}, "parameters": {"maxTokens": 9}}}, None),
        (
            {"student": {"limits": {"tokensPerMinute": 9}}},
            "models.student.limits.tokensPerMinute needs models.student.parameters.maxTokens",
        ),
        (
            {"student": {"limits": {"group": "gpt"}}},
            "one of requestsPerMinute, tokensPerMinute and concurrency must be set",
        ),
        ({"student": {"limits": {"concurrency": 0}}}, "greater than or equal to 1"),
        ({"student": {"limits": {"rpm": 600}}}, "Extra inputs are not permitted"),
        ({"student": {"limits": {"concurrency": 2}}, "teacher": {"parameters": {"temperature": 1}}}, None),
        (
            {"student": {"limits": {"concurrency": 2}}, "prompt": {"limits": {"concurrency": 3}}},
            "models.student.limits and models.prompt.limits differ",
        ),
        (
            {"student": {"limits": {"concurrency": 2}}, "prompt": {"limits": {"concurrency": 3}, "model": "a/b"}},
            None,
        ),
    ],
)
def test_only_valid_rate_limits_are_accepted(models: dict[str, Any], expected: str | None) -> None:
    student = a_spec()["models"]["student"]
    written = {role: {**student, **changes} for role, changes in models.items()}
    if expected is None:
        assert parsed(models=written)
    else:
        [problem] = problems(models=written)
        assert expected in problem


@pytest.mark.parametrize(
    ("model", "parameters", "expected"),
    [
        ("openai/m", {"more": {"service_tier": "flex"}}, None),
        ("bedrock/m", {"region": "us-east-1"}, None),
        ("openai/m", {"region": "us-east-1"}, "parameters.region may be set only with bedrock, sagemaker"),
        ("openai/m", {"more": {"temperature": 1}}, "more.temperature has a field of its own: write parameters.temper"),
        ("openai/m", {"more": {"extra_body": {}}}, "more.extra_body has a field of its own: write parameters.body"),
        ("openai/m", {"more": {"api_base": "http://m"}}, "more.api_base has a field of its own: write endpoint"),
        ("bedrock/m", {"more": {"aws_region_name": "a"}}, "more.aws_region_name has a field of its own"),
        ("openai/m", {"more": {"cache": False}}, "more.cache may not be set"),
        ("openai/m", {"more": {"api_key": "k"}}, "more.api_key has a field of its own: write apiKey"),
        ("bedrock/m", {"more": {"aws_secret_access_key": "k"}}, "more.aws_secret_access_key is for a secret"),
        ("azure/m", {"more": {"azure_ad_token": "k"}}, "more.azure_ad_token is for a secret"),
        ("openai/m", {"headers": {"Authorization": "k"}}, "headers.Authorization is for a secret"),
        ("openai/m", {"headers": {"X-API-Key": "k"}}, "headers.X-API-Key is for a secret"),
        ("azure/m", {"headers": {"Ocp-Apim-Subscription-Key": "k"}}, "Subscription-Key is for a secret"),
        ("openai/m", {"headers": {"Cookie": "k"}}, "headers.Cookie is for a secret"),
        ("openai/m", {"headers": {"X-Auth": "k"}}, "headers.X-Auth is for a secret"),
        ("openai/m", {"body": {"api_key": "k"}}, "body.api_key is for a secret"),
        ("openai/m", {"body": {"sources": [{"key": {"access_key": "k"}}]}}, "body.sources.0.key.access_key is for a"),
        ("openai/m", {"body": {"n": 2}}, "body.n may not be set"),
        ("openai/m", {"body": {"model": "gpt-5"}}, "body.model may not be set"),
        ("openai/m", {"body": {"prompt_cache_key": "k", "max_tokens": 9}, "headers": {"X-Author": "me"}}, None),
        ("bedrock/m", {"more": {"aws_access_key_id": "AK"}}, None),
        ("openai/m", {"reasoningEffort": "Very High"}, "String should match pattern"),
        ("openai/m", {"modelType": "image"}, "Input should be 'chat', 'text' or 'responses'"),
    ],
)  # fmt: skip
def test_only_valid_settings_of_a_model_are_accepted(
    model: str, parameters: dict[str, Any], expected: str | None
) -> None:
    written = {"student": {"model": model, "parameters": parameters}}
    if expected is None:
        [given] = parsed(models=written).as_written()["models"].values()
        assert {name: given["parameters"][name] for name in parameters} == parameters
    else:
        [problem] = problems(models=written)
        assert expected in problem


def test_the_user_chooses_the_names_of_further_models() -> None:
    student = {"model": "openai/m"}
    judge = {"model": "groq/l", "apiKey": {"secret": {"name": "j", "key": "k"}}, "limits": {"concurrency": 2}}
    spec = parsed(models={"student": student, "judge": judge})
    assert [*spec.models.by_role] == ["student", "judge"]
    assert spec.secrets() == {"judge": SecretKeyRef(name="j", key="k")}
    assert [limited.model for limited in rate_limits(spec, "team", "triage").models] == ["groq/l"]
    assert CompilationSpec.model_validate(spec.as_written()) == spec
    slower = parsed(models={"student": student, "judge": {**judge, "limits": {"concurrency": 1}}})
    assert spec.models.with_limits_of(slower.models) == slower.models
    [unbounded] = problems(
        models={"student": {**student, "parameters": {"maxTokens": 9}}, "judge": judge}, limits={"totalTokens": 9}
    )
    assert "limits.totalTokens needs models.judge.parameters.maxTokens" in unbounded


@pytest.mark.parametrize("name", ["Judge", "2nd", "a-b", "a b", "_a", "j" * 33])
def test_the_name_of_a_model_is_valid_as_a_part_of_a_variables_name(name: str) -> None:
    [problem] = problems(models={"student": {"model": "openai/m"}, name: {"model": "openai/m"}})
    assert "is no name of a model: write at most 32 lower-case letters" in problem


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("promt", "prompt"),
        ("prompts", "prompt"),
        ("prommpt", "prompt"),
        ("pormpt", "prompt"),
        ("brompt", "prompt"),
        ("studnet", "student"),
        ("tudent", "student"),
        ("teacherr", "teacher"),
        ("taecher", "teacher"),
        ("extracton", "extraction"),
        ("judge", None),
        ("proposer", None),
        ("prompter", None),
        ("extractor", None),
        ("student2", None),
        ("teacher_b", None),
        ("p", None),
    ],
)
def test_a_name_of_a_further_model_that_resembles_a_role_is_refused(name: str, meant: str | None) -> None:
    models = a_spec()["models"] | {name: a_spec()["models"]["student"]}
    if meant is None:
        assert name in parsed(models=models).models.by_role
        return
    [problem] = problems(models=models)
    assert problem.startswith("models: ")
    assert f"{name!r} is so like {meant!r} that it may be a slip: write {meant}, or give a further model a" in problem


def test_a_model_without_an_endpoint_has_limits_of_its_own() -> None:
    student = {"model": "openai/m", "limits": {"requestsPerMinute": 60}}
    elsewhere = {**student, "endpoint": "http://m/v1/", "limits": {"concurrency": 2}}
    told = rate_limits(parsed(models={"student": student, "teacher": elsewhere}), "team", "triage")
    assert [limited.endpoint for limited in told.models] == ["", "http://m/v1"]
    assert len({limited.limit.group for limited in told.models}) == 2


def test_models_of_the_same_name_and_endpoint_share_rate_limits() -> None:
    own = {"requestsPerMinute": 60}
    student = a_spec()["models"]["student"]
    models = {
        "student": {**student, "limits": own},
        "teacher": {**student, "limits": own, "parameters": {"temperature": 1}},
        "prompt": {**student, "model": "openai/large", "limits": {"concurrency": 4, "group": "gpt"}},
    }
    told = rate_limits(parsed(models=models), "team", "triage")
    groups = {limited.model: limited.limit for limited in told.models}
    model, endpoint = student["model"], student["endpoint"]
    assert len(told.models) == 2
    assert groups[model] == RateLimit(group=f"team/compilation/triage/{model}@{endpoint}", requests_per_minute=60)
    assert groups["openai/large"] == RateLimit(group="team/group/gpt", concurrency=4)
    assert rate_limits(parsed(), "team", "triage").models == ()


@pytest.mark.parametrize(
    ("limits", "needed"),
    [
        ({"lmCalls": 1}, None),
        ({"totalTokens": 1}, "totalTokens"),
        ({"costUSD": 1}, "costUSD"),
        ({"wallClock": 9}, None),
    ],
)
def test_a_limit_of_tokens_or_usd_needs_a_maximum_length_of_answers(limits: dict[str, Any], needed: str | None) -> None:
    if needed is None:
        assert parsed(limits=limits)
        return
    [problem] = problems(limits=limits)
    assert f"limits.{needed} needs models.student.parameters.maxTokens" in problem
    assert parsed(limits=limits, **{"models.student.parameters": {"maxTokens": 10}})


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"programm": {}}, "programm: Extra inputs are not permitted"),
        ({"swarm": {"podSpec": {}}}, "swarm.podSpec: Extra inputs are not permitted"),
        ({"swarm": {"resources": {"limits": {"nvidia.com/gpu": "1"}}}}, "swarm.resources.limits.nvidia.com/gpu.[key]"),
        ({"models.student.apiKey": {"value": "sk-1"}}, "models.student.apiKey.value: Extra inputs"),
        ({"optimizer": {"labeledFewShot": {"metric": "x"}}}, "optimizer.labeledFewShot.metric: Extra inputs"),
    ],
)
def test_unknown_fields_are_refused(changes: dict[str, Any], where: str) -> None:
    assert any(problem.startswith(where) for problem in problems(**changes)), problems(**changes)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"program": {"entrypoint": "triage"}}, "program.entrypoint"),
        ({"program": {"entrypoint": "triage.py:Triage"}}, None),  # names the module `py` of a package `triage`
        ({"program": {"entrypoint": "tri-age:Triage"}}, "program.entrypoint"),
        ({"program": {"entrypoint": "triage:Triage()"}}, "program.entrypoint"),
        ({"program": {"entrypoint": "../triage:Triage"}}, "program.entrypoint"),
        ({"metric": {"entrypoint": "a.b.c:d\n"}}, "metric.entrypoint"),
        ({"program.source": {"configMap": {"name": "Upper"}}}, "program.source.configMap.name"),
        ({"program.source": {"configMap": {"name": "../up"}}}, "program.source.configMap.name"),
        ({"data.train": {"configMap": {"name": "a", "key": "a/b.jsonl"}}}, "data.train.configMap.key"),
        ({"data.train": {"entrypoint": "a:b", "limit": 0}}, "data.train.limit"),
        ({"data.inputs": []}, "data.inputs"),
        ({"data.inputs": [""]}, "data.inputs.0"),
        ({"models.student.model": "gpt"}, "models.student.model"),
        ({"models.student.endpoint": "localhost:80"}, "models.student.endpoint"),
        ({"models.student.parameters": {"temperature": 3}}, "models.student.parameters.temperature"),
        ({"swarm": {"pods": 0}}, "swarm.pods"),
        ({"swarm": {"maxAttempts": 11}}, "swarm.maxAttempts"),
        ({"swarm": {"resources": {"requests": {"cpu": "-1"}}}}, "swarm.resources.requests.cpu"),
        ({"optimizer": {"bootstrapFewShotWithRandomSearch": {"stopAtScore": 101}}},
         "optimizer.bootstrapFewShotWithRandomSearch.stopAtScore"),
    ],
)  # fmt: skip
def test_the_message_about_a_value_out_of_bounds_names_its_field(changes: dict[str, Any], where: str | None) -> None:
    if where is None:
        parsed(**changes)
    else:
        assert [problem.partition(":")[0] for problem in problems(**changes)] == [where]


@pytest.mark.parametrize(
    ("given", "requested"),
    [
        ({}, {"cpu": "100m", "memory": "384Mi"}),
        ({"limits": {"memory": "128Mi"}}, {"cpu": "100m", "memory": "128Mi"}),
        ({"limits": {"memory": "400M"}}, {"cpu": "100m", "memory": "400M"}),
        ({"limits": {"memory": "1.5Gi"}}, {"cpu": "100m", "memory": "384Mi"}),
        ({"limits": {"cpu": "0.05"}}, {"cpu": "0.05", "memory": "384Mi"}),
        ({"limits": {"cpu": "2"}}, {"cpu": "100m", "memory": "384Mi"}),
        ({"limits": {}}, {"cpu": "100m", "memory": "384Mi"}),
        ({"requests": {"cpu": "1"}, "limits": {"memory": "128Mi"}}, {"cpu": "1"}),
        ({"requests": {"memory": "1Gi"}, "limits": {"memory": "128Mi"}}, {"memory": "1Gi"}),
        ({"requests": {}}, {}),
    ],
    ids=str,
)
def test_default_resource_requests_stay_below_the_limits_and_given_requests_are_kept(
    given: dict[str, Any], requested: dict[str, str]
) -> None:
    assert parsed(swarm={"resources": given}).swarm.resources.requested == requested


@pytest.mark.parametrize(
    ("smaller", "larger"),
    [
        ("999m", "1"),
        ("0.5", "501m"),
        ("999", "1k"),
        ("1000k", "1Mi"),
        ("1023Mi", "1Gi"),
        ("1G", "1Gi"),
        ("1.5Gi", "2G"),
        ("1023Gi", "1Ti"),
        ("999G", "1T"),
    ],
)
def test_quantities_of_kubernetes_are_compared_by_amount(smaller: str, larger: str) -> None:
    assert amount(smaller) < amount(larger)


# --- objects that a spec names -----------------------------------------------------------------------------------


def key_ref(name: str, key: str) -> dict[str, Any]:
    return {"configMap": {"name": name, "key": key}}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {}),
        ({"program.source": {"configMap": {"name": "code"}}}, {"code": None}),
        ({"data.train": key_ref("d", "t"), "data.validation": key_ref("d", "v")}, {"d": {"t", "v"}}),
        ({"data.train": key_ref("d", "t"), "data.test": key_ref("e", "t")}, {"d": {"t"}, "e": {"t"}}),
        ({"program.source": {"configMap": {"name": "all"}}, "data.train": key_ref("all", "t")}, {"all": None}),
    ],
)
def test_the_spec_names_the_config_maps_that_pods_mount(changes: dict[str, Any], expected: dict[str, Any]) -> None:
    assert parsed(**changes).config_maps() == expected


def volume(claim: str, path: str = "train.jsonl") -> dict[str, Any]:
    return {"volume": {"claimName": claim, "path": path}}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, set()),
        ({"journal": {"persistentVolumeClaim": {"claimName": "j"}}}, set()),
        ({"data.train": volume("a"), "data.validation": volume("a", "b/c.csv"), "data.test": volume("b")}, {"a", "b"}),
    ],
)
def test_the_spec_names_the_claims_with_data_that_pods_mount(changes: dict[str, Any], expected: set[str]) -> None:
    assert parsed(**changes).claims() == expected


@pytest.mark.parametrize("path", ["/train.jsonl", "../train.jsonl", "a/../../train.jsonl", "a//b.csv", "a/", ""])
def test_the_path_of_a_file_on_a_volume_does_not_leave_the_volume(path: str) -> None:
    [problem] = problems(**{"data.train": volume("a", path)})
    assert problem.startswith("data.train.volume.path: ")


def test_each_model_role_has_the_secret_that_the_spec_names() -> None:
    def model(name: str | None) -> dict[str, Any]:
        found: dict[str, Any] = {"model": "openai/m", "endpoint": "http://m/v1"}
        return found | ({"apiKey": {"secret": {"name": name, "key": "k"}}} if name else {})

    assert parsed().secrets() == {}
    spec = parsed(models={"student": model("s"), "teacher": model(None), "prompt": model("p")})
    assert spec.secrets() == {"student": SecretKeyRef(name="s", key="k"), "prompt": SecretKeyRef(name="p", key="k")}


@pytest.mark.parametrize(
    ("adapter", "problem"),
    [
        (None, "may be set only with program.adapter.twoStep"),
        ({"json": {}}, "may be set only with program.adapter.twoStep"),
        ({"twoStep": {}}, None),
    ],
)
def test_only_the_two_step_adapter_has_a_model_of_its_own(adapter: dict[str, Any] | None, problem: str | None) -> None:
    student = a_spec()["models"]["student"]
    extraction = {**student, "model": "openai/tiny", "apiKey": {"secret": {"name": "e", "key": "k"}}}
    changes: dict[str, Any] = {"models": {"student": student, "extraction": extraction}}
    changes |= {"program.adapter": adapter} if adapter else {}
    if problem is not None:
        assert [text for text in problems(**changes) if problem in text]
        return
    spec = parsed(**changes)
    assert spec.secrets() == {"extraction": SecretKeyRef(name="e", key="k")}
    assert CompilationSpec.model_validate(spec.as_written()) == spec
    [unbounded] = problems(**changes, limits={"totalTokens": 9}, **{"models.student.parameters": {"maxTokens": 9}})
    assert "limits.totalTokens needs models.extraction.parameters.maxTokens" in unbounded


def test_the_artifact_has_the_name_in_the_spec_or_else_a_default_name() -> None:
    assert parsed().artifact_name("triage") == "triage-artifact"
    assert parsed(artifact={"configMap": {"name": "winner"}}).artifact_name("triage") == "winner"


# --- the models themselves ---------------------------------------------------------------------------------------


def all_models(model: type[BaseModel] = SpecModel) -> list[type[BaseModel]]:
    ours = [child for child in model.__subclasses__() if child.__module__.startswith("swarm_wire.")]
    return [child for child in ours if child is not Union] + [deeper for child in ours for deeper in all_models(child)]


@pytest.mark.parametrize("model", all_models(), ids=lambda model: model.__name__)
def test_every_pydantic_model_of_the_spec_is_frozen_and_strict_and_has_camel_case_keys(model: type[BaseModel]) -> None:
    assert model.model_config.get("frozen")
    assert model.model_config.get("extra") == ("allow" if model is Models else "forbid")
    for name, field in model.model_fields.items():
        assert field.alias == to_camel(name.rstrip("_")).replace("Usd", "USD")
    assert model.__doc__, "becomes the description in the CRD"


def test_a_reference_to_a_config_map_is_written_without_a_key_and_a_reference_to_its_key_with_it() -> None:
    assert ConfigMapRef(name="a").model_dump() == {"name": "a"}
    assert ConfigMapKeyRef(name="a", key="k").model_dump() == {"name": "a", "key": "k"}


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com:8443/a/train.jsonl?version=2",
        "s3://bucket/train.parquet",
        "gs://bucket/a/train.csv",
        "az://container/train.json",
        "abfs://container@account.dfs.core.windows.net/train.json",
        "hf://datasets/openai/gsm8k@main/main/train.parquet",
    ],
)
def test_data_may_be_at_a_url(url: str) -> None:
    spec = parsed(**{"data.train": {"url": url, "options": {"secret": {"name": "s", "key": "k"}}}})
    assert spec.data.urls == {"train": url}
    assert spec.data.url_secrets == {"train": SecretKeyRef(name="s", key="k")}


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/train.jsonl",
        "file:///etc/passwd",
        "memory://a/train.jsonl",
        "https://user:password@example.com/train.jsonl",
        "https://token@example.com/train.jsonl",
        "s3://key:secret@bucket/train.jsonl",
        "abfs://container:key@account/train.jsonl",
        "simplecache::https://example.com/train.jsonl",
        "https://example.com",
        "train.jsonl",
    ],
)
def test_a_url_has_no_credentials_and_no_way_into_a_pod(url: str) -> None:
    [problem] = problems(**{"data.train": {"url": url}})
    assert problem.startswith("data.train.url: String should match pattern")


def test_options_belong_to_a_url() -> None:
    options = {"options": {"secret": {"name": "s", "key": "k"}}}
    [problem] = problems(**{"data.train": {"path": "train.jsonl", **options}})
    assert "options may be set only with url" in problem


@pytest.mark.parametrize("name", ["student", "tody"])
def test_a_comparison_names_another_model_than_the_student(name: str) -> None:
    models = {**a_spec()["models"], "today": {"model": "openai/small"}}
    [problem] = problems(models=models, compare={"currentModel": name})
    assert f"compare.currentModel is '{name}': write the name of a model in models other than student." in problem
    assert parsed(models=models, compare={"currentModel": "today"}).needs_published
    program = {**a_spec()["program"], "adapter": {"twoStep": {}}}
    [problem] = problems(models=models, compare={"currentModel": "today"}, program=program)
    assert "needs models.extraction" in problem
