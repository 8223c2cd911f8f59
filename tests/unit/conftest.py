"""What every unit test finds as it is in a pod."""

import pytest


@pytest.fixture(autouse=True)
def no_cache_of_dspys(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """A test may turn it on: the next one finds it off again."""
    if request.config.getoption("--without-dspy"):
        return
    import dspy
    from dspy.clients.cache import Cache

    monkeypatch.setattr(dspy, "cache", Cache(enable_disk_cache=False, enable_memory_cache=False, disk_cache_dir=""))
