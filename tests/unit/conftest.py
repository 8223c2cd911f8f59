"""Settings of a pod for every unit test."""

import pytest


@pytest.fixture(autouse=True)
def no_cache_of_dspys(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """A test may turn it on: it is off again for the next test."""
    if request.config.getoption("--without-dspy"):
        return
    import dspy
    from dspy.clients.cache import Cache

    monkeypatch.setattr(dspy, "cache", Cache(enable_disk_cache=False, enable_memory_cache=False, disk_cache_dir=""))
