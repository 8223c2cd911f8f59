"""These fixtures give every unit test the environment of a pod."""

import pytest


@pytest.fixture(autouse=True)
def no_cache_of_dspys(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Turns DSPy's cache off before each test, even if the test before it has turned the cache on."""
    if request.config.getoption("--without-dspy"):
        return
    import dspy
    from dspy.clients.cache import Cache

    monkeypatch.setattr(dspy, "cache", Cache(enable_disk_cache=False, enable_memory_cache=False, disk_cache_dir=""))
