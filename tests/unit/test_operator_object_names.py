"""The operator computes the names of objects, so a repeated write makes no second object."""

from hypothesis import given
from hypothesis import strategies as st

from support.worlds import RUN_ID
from swarm_operator.compilation.model import object_names
from swarm_operator.compilation.model.roles import ROLES

NAMES = st.from_regex(r"[a-z0-9]([-a-z0-9.]{0,80}[a-z0-9])?", fullmatch=True)


@given(NAMES, st.integers(0, 9999), st.integers(1, 20))
def test_names_of_objects_are_short_enough_for_kubernetes(name: str, round_: int, attempt: int) -> None:
    for job in (object_names.job(name, RUN_ID, role, round_, attempt) for role in ROLES):
        assert len(job) <= object_names.JOB_NAME_LIMIT
        assert job.replace("-", "a").isalnum()
        assert job[0] != "-"
    assert len(object_names.shard_map(name, RUN_ID, "results", round_, attempt, "0" * 64)) <= 253


def test_runs_with_different_uid_generation_or_annotation_have_different_ids() -> None:
    ids = {
        object_names.run_id("u", 1, None),
        object_names.run_id("u", 2, None),
        object_names.run_id("v", 1, None),
        object_names.run_id("u", 1, "now"),
    }
    assert len(ids) == 4
    assert all(len(id_) == 10 for id_ in ids)


def test_jobs_of_different_compilations_have_different_nonces_even_if_their_names_are_equal() -> None:
    assert object_names.nonce("u", "job") != object_names.nonce("v", "job")
