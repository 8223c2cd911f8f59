"""What every unit test finds as it is in a pod."""

import dspy
import pytest
from dspy.clients.cache import Cache


@pytest.fixture(autouse=True)
def no_cache_of_dspys(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test may turn it on: the next one finds it off again."""
    monkeypatch.setattr(dspy, "cache", Cache(enable_disk_cache=False, enable_memory_cache=False, disk_cache_dir=""))
