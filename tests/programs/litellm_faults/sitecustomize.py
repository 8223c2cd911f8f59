"""Python imports this at its start, where its folder is on the path: LITELLM makes an import of LiteLLM go wrong.

slow    it stops halfway for a second
broken  it never comes to its end
"""

import os
import sys
import time
from typing import Any


class Fault:
    """Is asked first where to find a module."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name == "litellm.main":
            if os.environ["LITELLM"] == "broken":
                raise ImportError("a library of LiteLLM's does not fit")
            sys.meta_path.remove(self)
            time.sleep(1)


if "LITELLM" in os.environ:
    sys.meta_path.insert(0, Fault())
