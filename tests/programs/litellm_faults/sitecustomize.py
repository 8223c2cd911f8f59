"""Makes the import of LiteLLM go wrong as LITELLM says. Python imports this module at its start.

slow    the import stops halfway for a second
broken  every import fails
FILE    the first import fails and creates this file; later imports work, also in other processes
"""

import os
import sys
import time
from typing import Any


def is_first(file: str) -> bool:
    try:
        os.close(os.open(file, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


class Fault:
    """The finder that Python asks first for a module."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name == "litellm.main":
            fault = os.environ["LITELLM"]
            if fault == "broken" or (fault != "slow" and is_first(fault)):
                raise ImportError("a library of LiteLLM's does not fit")
            sys.meta_path.remove(self)
            time.sleep(1)


if "LITELLM" in os.environ:
    sys.meta_path.insert(0, Fault())
