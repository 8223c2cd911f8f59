"""Settings of DSPy that user code makes hold in every cell and are part of its digest. They never replace the
spec's."""

from collections.abc import Callable, Iterator
from typing import Any

import dspy
import pytest
from dspy.dsp.utils.settings import Settings, main_thread_config

from support.models import Provider
from swarm_worker.content.digest import Walk
from swarm_worker.replay import recorded, settings

STUDENT = Provider("settings").lm()
LARGE = dspy.LM("openai/large")


@pytest.fixture(autouse=True)
def student(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(Settings, "configure", Settings.configure)
    monkeypatch.setattr(dspy, "configure", dspy.configure)
    before = dict(main_thread_config)
    settings.watch()
    with dspy.context(**before):
        main_thread_config["lm"] = STUDENT
        try:
            yield
        finally:
            main_thread_config.clear()
            main_thread_config.update(before)


def retriever(query: str) -> list[str]:
    return [query]


IN_FORCE: list[dict[str, Any]] = [
    {"adapter": dspy.JSONAdapter()},
    {"rm": retriever},
    {"max_trace_size": 3},
    {"track_usage": True},
    {"callbacks": [object()]},
    {"num_threads": 3},
    {"max_errors": 3},
    {"provide_traceback": True},
    {"warn_on_type_mismatch": False},
    {"async_max_workers": 2},
    {"allow_tool_async_sync_conversion": True},
    {"max_history_size": 0},
    {"disable_history": True},
    {"interpreter_factory": retriever},
    {"trace": None},
    {"of_my_own": 1},
]


@pytest.mark.parametrize("given", IN_FORCE, ids=lambda given: next(iter(given)))
def test_a_setting_of_dspy_is_in_force_in_cells_and_part_of_their_digest(given: dict[str, Any]) -> None:
    with dspy.context(lm=STUDENT):
        before = settings.in_force()
        with dspy.context(**given):
            found = settings.in_force()
    [name] = given
    assert name not in before or before[name] is not given[name]
    assert found[name] is given[name]
    assert settings.with_defaults(found)[name] is given[name]
    assert Walk().digest(found) != Walk().digest(before)


@pytest.mark.parametrize("name", ["usage_tracker", "caller_modules", "caller_predict", "swarm_ledger"])
def test_settings_that_dspy_changes_during_a_call_do_not_count_as_the_users(name: str) -> None:
    with dspy.context(lm=STUDENT, **{name: object()}):
        assert name not in settings.in_force()


def test_a_setting_of_a_worker_that_the_plan_lacks_is_reset() -> None:
    with dspy.context(lm=STUDENT):
        in_plan = settings.in_force()
    with dspy.context(rm=retriever), dspy.context(**settings.with_defaults(in_plan)):
        assert dspy.settings.rm is None


def set_attribute(lm: Any) -> None:
    dspy.settings.lm = lm


def set_item(lm: Any) -> None:
    dspy.settings["lm"] = lm


CONFIGURE: dict[str, Callable[[Any], None]] = {
    "dspy.configure": lambda lm: dspy.configure(lm=lm, num_threads=5),
    "dspy.settings.configure": lambda lm: dspy.settings.configure(lm=lm, num_threads=5),
    "an attribute": set_attribute,
    "an item": set_item,
}


@pytest.mark.parametrize("name", CONFIGURE)
def test_the_student_of_the_spec_replaces_a_model_that_the_users_module_configures(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    with settings.loading(told.append, {"lm": ("spec.models.student", STUDENT)}):
        CONFIGURE[name](LARGE)
    assert main_thread_config["lm"] is STUDENT
    assert [text.partition(" configures ")[2] for text in told] == [
        "openai/large, and spec.models.student (openai/model) is used."
    ]
    assert told[0].startswith("test_worker_settings.py, line ")
    assert (main_thread_config["num_threads"] == 5) is ("configure" in name)


def test_settings_that_user_code_changes_after_loading_count_as_in_stock() -> None:
    with settings.loading(print, {"lm": ("spec.models.student", STUDENT)}):
        pass
    dspy.configure(lm=LARGE)
    assert main_thread_config["lm"] is LARGE


def test_reads_of_a_trace_that_the_user_configured_are_noticed() -> None:
    dspy.configure(trace=[])
    assert isinstance(main_thread_config["trace"], recorded.Recorded)
