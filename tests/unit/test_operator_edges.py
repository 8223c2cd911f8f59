"""The operator takes settings from its environment, and reads the responses of the API server."""

import pytest
from pydantic import ValidationError

from swarm_operator.cluster import errors
from swarm_operator.cluster.resources import CONFIG_MAPS, JOBS
from swarm_operator.compilation.api import COMPILATIONS
from swarm_operator.settings import Settings


@pytest.mark.parametrize(
    ("status", "reason", "message", "causes", "kind"),
    [
        (404, "NotFound", "", "", errors.Vanished),
        (
            403,
            "Forbidden",
            "unable to create new content in namespace a because it is being terminated",
            "",
            errors.Terminating,
        ),
        (403, "Forbidden", "x", "NamespaceTerminating", errors.Terminating),
        (403, "Forbidden", "exceeded quota", "", errors.Forbidden),
        (401, "Unauthorized", "", "", errors.Forbidden),
        (409, "AlreadyExists", "", "", errors.Exists),
        (409, "Conflict", "the object has been modified", "", errors.Conflict),
        (409, "Conflict", "Apply failed with 1 conflict", "FieldManagerConflict", errors.Conflict),
        (422, "Invalid", "must be less than", "", errors.Rejected),
        (400, "BadRequest", "", "", errors.Rejected),
        (413, "RequestEntityTooLarge", "", "", errors.Rejected),
        (500, "", "etcdserver: request is too large", "", errors.Rejected),
        (500, "InternalError", "", "", errors.Unavailable),
        (429, "TooManyRequests", "", "", errors.Unavailable),
        (503, "", "", "", errors.Unavailable),
    ],
)
def test_the_status_code_of_an_answer_from_the_api_server_determines_the_type_of_the_error(
    status: int, reason: str, message: str, causes: str, kind: type[errors.ApiError]
) -> None:
    error = errors.from_response(status, reason, message, causes)
    assert type(error) is kind
    assert f"HTTP {status}" in str(error)


def test_the_path_of_a_request_names_api_group_namespace_and_object() -> None:
    assert CONFIG_MAPS.path("a", "b") == "/api/v1/namespaces/a/configmaps/b"
    assert JOBS.path(None) == "/apis/batch/v1/jobs"
    assert COMPILATIONS.path("a", "b", "status") == (
        "/apis/dspy-swarm.dev/v1alpha1/namespaces/a/dspycompilations/b/status"
    )


def test_the_operator_takes_its_settings_from_the_environment() -> None:
    found = Settings.from_environment(
        {"SWARM_OPERATOR_NAMESPACES": "a,b", "SWARM_OPERATOR_GATHER_INTERVAL": "1.5", "OTHER": "x"}
    )
    assert (found.namespaces, found.gather_interval) == (("a", "b"), 1.5)
    assert Settings.from_environment({}) == Settings()


@pytest.mark.parametrize("name", ["GATHER_INTERVAL", "CONCURRENT_PASSES"])
def test_the_operator_refuses_invalid_settings(name: str) -> None:
    with pytest.raises(ValidationError):
        Settings.from_environment({f"SWARM_OPERATOR_{name}": "0"})


def test_every_setting_is_documented() -> None:
    assert all(field.description for field in Settings.model_fields.values())
