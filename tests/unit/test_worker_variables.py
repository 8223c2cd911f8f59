"""On a laptop, environment variables of the user come from several sources and reach user code."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from support.wire_spec import a_spec
from swarm_engine.identity import is_same_run
from swarm_wire.spec.compilation import CompilationSpec
from swarm_wire.spec.variables import Value, placed
from swarm_worker.errors import BadInput
from swarm_worker.local import dotenv
from swarm_worker.local.documents import Manifest, read
from swarm_worker.local.folder import fingerprint
from swarm_worker.user.variables import place, secrets

SECRET = {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "judge", "key": "api-key"}}}
CONFIG = {"name": "LEVEL", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "level"}}}
PLAIN = {"name": "MODE", "value": "fast"}
ALL = [{"secretRef": {"name": "judge"}, "prefix": "J_"}, {"configMapRef": {"name": "settings"}}]
JUDGE = {"kind": "Secret", "metadata": {"name": "judge"}, "stringData": {"api-key": "sk-of-the-file"}}
SETTINGS = {"kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"level": "low"}}


def manifest(
    folder: Path, shell: dict[str, str], *documents: Any, env_file: str = "", invent: Any = None, **changes: Any
) -> Manifest:
    compilation = {"kind": "DSPyCompilation", "metadata": {"name": "c"}, "spec": a_spec(**changes)}
    (folder / "c.yaml").write_text(yaml.safe_dump_all([compilation, *documents]))
    (folder / ".env").write_text(env_file)
    return read(folder / "c.yaml", shell, invent)


def values(found: Manifest) -> dict[str, str]:
    placed_ = placed(found.spec.env, found.spec.env_from, found.variables)
    return {name: value.text for name, value in placed_.items()}


@pytest.mark.parametrize(
    ("changes", "shell", "env_file", "documents", "expected"),
    [
        ({"env": [PLAIN]}, {"MODE": "slow"}, "MODE=slow", (), {"MODE": "fast"}),
        ({"env": [SECRET]}, {"KEY": "shell"}, "KEY=file", (JUDGE,), {"KEY": "shell"}),
        ({"env": [SECRET]}, {}, "KEY=file", (JUDGE,), {"KEY": "file"}),
        ({"env": [SECRET]}, {}, "", (JUDGE,), {"KEY": "sk-of-the-file"}),
        ({"env": [SECRET]}, {"KEY": ""}, "KEY=file", (), {"KEY": ""}),
        ({"env": [CONFIG]}, {}, "OTHER=1", (SETTINGS,), {"LEVEL": "low"}),
        ({"envFrom": ALL}, {}, "", (JUDGE, SETTINGS), {"J_api-key": "sk-of-the-file", "level": "low"}),
        ({"envFrom": ALL}, {"level": "high"}, "", (JUDGE, SETTINGS), {"J_api-key": "sk-of-the-file", "level": "high"}),
        ({"envFrom": ALL[:1]}, {}, "J_A=1\nB=2\nSWARM_API_KEY_STUDENT=3", (), {"J_A": "1"}),
        ({"envFrom": ALL[1:]}, {"B": "shell"}, "J_A=1\nB=2\nSWARM_TWIN=3", (), {"J_A": "1", "B": "shell"}),
        ({"envFrom": ALL[1:], "env": [{"name": "level", "value": "mine"}]}, {}, "", (SETTINGS,), {"level": "mine"}),
    ],
    ids=["the spec has the value", "the shell comes first", "the file comes second", "the Secret comes last",
         "an empty value counts", "a ConfigMap has the value", "envFrom takes a whole Secret and ConfigMap",
         "the shell comes before envFrom", "the file replaces a Secret and its prefix",
         "the file replaces a ConfigMap", "env comes before envFrom"],
)  # fmt: skip
def test_on_a_laptop_variables_come_from_the_shell_or_an_env_file(
    tmp_path: Path,
    changes: dict[str, Any],
    shell: dict[str, str],
    env_file: str,
    documents: tuple[Any, ...],
    expected: dict[str, str],
) -> None:
    assert values(manifest(tmp_path, shell, *documents, env_file=env_file, **changes)) == expected


@pytest.mark.parametrize(
    ("changes", "documents", "reason", "says"),
    [
        ({"env": [SECRET]}, (), "MissingSecret",
         "spec.env: the value of KEY is in key 'api-key' of Secret 'judge', which is not here. Set KEY in the shell, "
         "or in {folder}/.env."),
        ({"env": [CONFIG]}, ({**SETTINGS, "data": {}},), "MissingConfigMapKey",
         "the value of LEVEL is in key 'level' of ConfigMap 'settings'"),
        ({"envFrom": ALL}, (SETTINGS,), "MissingSecret",
         "spec.envFrom: Secret 'judge' is not here. Write its names and values into {folder}/.env, one J_NAME=VALUE"),
        ({"envFrom": ALL[1:]}, (), "MissingConfigMap", "spec.envFrom: ConfigMap 'settings' is not here"),
        ({"envFrom": ALL[1:]}, ({**SETTINGS, "data": {"PYTHONPATH": "/"}},), "InvalidSpec",
         "spec.envFrom: PYTHONPATH may not be set"),
    ],
)  # fmt: skip
def test_the_message_about_a_missing_variable_names_it(
    tmp_path: Path, changes: dict[str, Any], documents: tuple[Any, ...], reason: str, says: str
) -> None:
    with pytest.raises(BadInput) as refused:
        manifest(tmp_path, {}, *documents, **changes)
    assert refused.value.reason == reason
    assert says.format(folder=tmp_path) in str(refused.value)


NO_TEXT = {"kind": "Secret", "metadata": {"name": "judge"}, "data": {"api-key": "/////w=="}}
ZERO = {"kind": "Secret", "metadata": {"name": "judge"}, "data": {"api-key": "YQBi"}}


@pytest.mark.parametrize("document", [NO_TEXT, ZERO], ids=["no UTF-8", "a zero byte"])
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"env": [SECRET]}, "spec.env: the value of KEY, key 'api-key' of Secret 'judge', is no text, so it can be no"),
        ({"envFrom": ALL[:1]}, "spec.envFrom: key 'api-key' of Secret 'judge' is no text, so it can be no"),
        ({"models.student.apiKey": {"secret": {"name": "judge", "key": "api-key"}}},
         "the student model's API key, key 'api-key' of Secret 'judge', is no text, so it can be no"),
    ],
    ids=["env", "envFrom", "a model's key"],
)  # fmt: skip
def test_the_message_about_a_secret_that_is_not_text_names_it(
    tmp_path: Path, changes: dict[str, Any], says: str, document: Any
) -> None:
    with pytest.raises(BadInput, match=r"environment variable\. Write text there") as refused:
        manifest(tmp_path, {}, document, **changes)
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "shell", "env_file", "documents", "expected"),
    [
        ({"env": [SECRET]}, {}, "", (), {"KEY": "invented"}),
        ({"env": [SECRET]}, {"KEY": "shell"}, "", (), {"KEY": "shell"}),
        ({"env": [SECRET]}, {}, "KEY=file", (), {"KEY": "file"}),
        ({"env": [SECRET]}, {}, "", (JUDGE,), {"KEY": "sk-of-the-file"}),
        ({"envFrom": ALL[:1]}, {}, "", (), {}),
        ({"envFrom": ALL[:1]}, {}, "J_A=1", (), {"J_A": "1"}),
        ({"envFrom": ALL[:1]}, {}, "", (JUDGE,), {"J_api-key": "sk-of-the-file"}),
    ],
    ids=["the Secret is missing", "the shell has the value", "the file has the value", "the Secret exists",
         "the whole Secret is missing", "the file replaces the whole Secret", "the whole Secret exists"],
)  # fmt: skip
def test_an_estimate_invents_missing_secrets(
    tmp_path: Path,
    changes: dict[str, Any],
    shell: dict[str, str],
    env_file: str,
    documents: tuple[Any, ...],
    expected: dict[str, str],
) -> None:
    found = manifest(tmp_path, shell, *documents, env_file=env_file, invent=lambda: "invented", **changes)
    assert values(found) == expected


def test_an_estimate_invents_no_values_of_missing_config_maps(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="which is not here"):
        manifest(tmp_path, {}, env=[CONFIG], invent=lambda: "invented")


def test_values_of_the_shell_or_of_the_env_file_replace_values_of_the_source(tmp_path: Path) -> None:
    found = manifest(tmp_path, {"J_api-key": "sk-1"}, NO_TEXT, envFrom=ALL[:1])
    assert values(found) == {"J_api-key": "sk-1"}


def test_api_keys_may_also_be_in_the_env_file(tmp_path: Path) -> None:
    key = {"models.student.apiKey": {"secret": {"name": "keys", "key": "student"}}}
    assert manifest(tmp_path, {}, env_file="SWARM_API_KEY_STUDENT=sk-1", **key).keys == {"student": "sk-1"}


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("", {}),
        ("   # a comment", {}),
        ("A=1", {"A": "1"}),
        ("export A = 1 ", {"A": "1"}),
        ("A=", {"A": ""}),
        ("A=b=c", {"A": "b=c"}),
        ("A=a#b", {"A": "a#b"}),
        ("A=#b", {"A": "#b"}),
        ("A= # a comment", {"A": ""}),
        ("A=a b # a comment", {"A": "a b"}),
        ("A='a # b' # c", {"A": "a # b"}),
        ('A="a\'b"', {"A": "a'b"}),
        ("A=it's", {"A": "it's"}),
        ("A=$B ${C}", {"A": "$B ${C}"}),
        ("A=1\nA=2\nB=3", {"A": "2", "B": "3"}),
        ("\ufeffA=1", {"A": "1"}),
        ("A=1\r\nB='2'\r\n", {"A": "1", "B": "2"}),
        (r'A="a\"b\\"', {"A": 'a"b\\'}),
        (r"A='a\'b\n'", {"A": r"a'b\n"}),
        (r'A="a\nb\d"', {"A": "a\nb\\d"}),
        ('A="-----BEGIN\nabc=\n-----END"\nB=2', {"A": "-----BEGIN\nabc=\n-----END", "B": "2"}),
        ("A=\nB=\\n", {"A": "", "B": "\\n"}),
    ],
)
def test_every_usual_kind_of_line_in_an_env_file_is_read(tmp_path: Path, line: str, found: dict[str, str]) -> None:
    (tmp_path / ".env").write_text(line)
    assert dotenv.read(tmp_path) == found


@pytest.mark.parametrize("line", ["sk-secret", "A-B=sk-secret", "A='sk-secret", "'A'=sk-secret", 'A="sk-secret" b'])
def test_the_message_about_an_invalid_line_names_its_number_and_not_its_text(tmp_path: Path, line: str) -> None:
    (tmp_path / ".env").write_text(f"A=1\n\n{line}\n")
    with pytest.raises(BadInput, match=r"/\.env, line 3, is not NAME=VALUE") as refused:
        dotenv.read(tmp_path)
    assert "secret" not in str(refused.value)


def test_a_missing_env_file_is_no_error(tmp_path: Path) -> None:
    assert dotenv.read(tmp_path) == {}


@pytest.mark.parametrize(
    ("changes", "shell", "is_new"),
    [
        ({"env": [SECRET]}, {"KEY": "rotated"}, False),
        ({"env": [CONFIG]}, {"LEVEL": "high"}, True),
        ({"envFrom": ALL}, {"J_api-key": "rotated"}, False),
        ({"envFrom": ALL}, {"level": "high"}, True),
    ],
)
def test_a_rotated_secret_starts_no_new_run(
    tmp_path: Path, changes: dict[str, Any], shell: dict[str, str], is_new: bool
) -> None:
    def found(**given: str) -> str:
        return fingerprint(manifest(tmp_path, given, JUDGE, SETTINGS, **changes))

    assert (found() != found(**shell)) is is_new


def test_a_change_of_a_variables_name_starts_a_new_run(tmp_path: Path) -> None:
    specs = [manifest(tmp_path, {}, JUDGE, env=env).spec for env in ([], [SECRET], [{**SECRET, "name": "B"}])]
    assert [is_same_run(specs[0], other) for other in specs] == [True, False, False]
    assert not is_same_run(specs[1], specs[2])


def spec(**changes: Any) -> CompilationSpec:
    return CompilationSpec.model_validate(a_spec(**changes))


def test_user_code_finds_variables_by_their_own_names() -> None:
    environment = {"SWARM_ENV_0_A": "sk-of-a-tool", "SWARM_ENV_1_KEY": "sk-1", "A": "before", "HOME": "/tmp"}
    found = place(spec(envFrom=ALL[:1], env=[SECRET]), environment)
    assert environment == {"A": "sk-of-a-tool", "KEY": "sk-1", "HOME": "/tmp"}
    assert found == {"A": Value("sk-of-a-tool", True), "KEY": Value("sk-1", True)}


def test_a_process_refuses_to_set_variables_that_it_needs_itself() -> None:
    with pytest.raises(BadInput, match="LD_PRELOAD may not be set") as refused:
        place(spec(envFrom=ALL[:1]), {"SWARM_ENV_0_LD_PRELOAD": "x.so"})
    assert refused.value.reason == "InvalidSpec"


@pytest.mark.parametrize(
    ("value", "is_one"),
    [
        (Value("sk-12345", True), True),
        (Value("sk-12345", False), False),
        (Value("sk-12345", False, True), True),
        (Value("true", True), False),
    ],
    ids=["of a Secret", "of a ConfigMap", "of .env for a ConfigMap", "a value too short for a secret"],
)
def test_long_values_of_secrets_and_of_the_env_file_count_as_secret(value: Value, is_one: bool) -> None:
    assert secrets({"A": value}) == ({"value of A": value.text} if is_one else {})


TOOLS, MAP = [{"secretRef": {"name": "tools"}}], [{"configMapRef": {"name": "settings"}}]


@pytest.mark.parametrize(
    ("changes", "documents", "masked"),
    [
        ({"envFrom": [*TOOLS, *MAP]}, (), {"KEY", "LEVEL"}),
        ({"envFrom": [*MAP, *TOOLS]}, (), {"KEY", "LEVEL"}),
        ({"envFrom": MAP}, (), {"KEY", "LEVEL"}),
        ({"envFrom": [*TOOLS, *MAP]}, (SETTINGS,), {"KEY", "LEVEL"}),
        ({"envFrom": MAP}, ({**SETTINGS, "data": {"LEVEL": "x", "KEY": "y"}},), set()),
        ({"env": [CONFIG]}, (), set()),
        ({"envFrom": MAP, "env": [{"name": "LEVEL", "value": "no-secret"}]}, (), {"KEY"}),
    ],
    ids=["Secret and ConfigMap are missing", "the Secret comes later", "the ConfigMap alone", "the Secret alone",
         "an existing ConfigMap names its keys", "a name that the spec gives a ConfigMap", "a value of the spec"],
)  # fmt: skip
def test_values_of_env_are_masked_unless_the_spec_says_that_they_are_not_secret(
    tmp_path: Path, changes: dict[str, Any], documents: tuple[Any, ...], masked: set[str]
) -> None:
    found = manifest(tmp_path, {}, *documents, env_file="KEY=sk-of-a-tool\nLEVEL=very-high\n", **changes)
    environment = dict(found.variables)
    placed_ = place(found.spec, environment)
    assert {name.removeprefix("value of ") for name in secrets(placed_)} == masked
    assert environment == {name: value.text for name, value in placed_.items()}


def test_a_run_is_bound_to_values_of_env_that_replace_a_config_map(tmp_path: Path) -> None:
    def found(level: str) -> str:
        return fingerprint(manifest(tmp_path, {}, env_file=f"LEVEL={level}", envFrom=MAP))

    assert found("very-high") != found("very-low!")
