"""Makes LiteLLM's import safe for threads. DSPy imports LiteLLM when the first call needs it, in any thread.

DSPy 3.3 makes every call with LiteLLM. DSPy 3.4 uses LiteLLM for calls that its own client cannot make: other
providers, audio, files, unknown parameters. If another thread is importing LiteLLM at that moment, the call fails,
because `dspy.utils.lazy_import.require` takes the half-imported module from `sys.modules`. DSPy locks only its own
imports. But other code imports LiteLLM, too: for example, reading an answer of LiteLLM's from the journal.
"""

import functools
import importlib
from collections.abc import Iterable
from typing import Any

from swarm_worker.client import prices
from swarm_worker.client.installed import client
from swarm_worker.client.permanent_errors import missing_package
from swarm_worker.errors import InfrastructureFailed


@functools.cache
def guard() -> None:
    """Makes calls that need LiteLLM wait while another thread imports it."""
    user = importlib.import_module("dspy.clients._litellm")
    require = user.require

    @functools.wraps(require)
    def waiting(module: str, **given: Any) -> Any:
        try:
            importlib.import_module(module)  # Python's own lock waits until the module is complete
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
        return require(module, **given)

    user.require = waiting  # type: ignore[attr-defined]


def import_for(lms: Iterable[Any]) -> None:
    """Imports LiteLLM if calls of one of these LMs need it.

    Raises:
        BadInput: LiteLLM, or a package that it needs, is not installed.
        InfrastructureFailed: LiteLLM cannot be imported.
    """
    if any(map(client().needs_litellm, lms)):
        try:
            import_litellm()
        except Exception as error:
            raise missing_package(error) or InfrastructureFailed(error) from error


def import_litellm() -> None:
    prices.keep_offline()
    importlib.import_module("dspy.clients._litellm").get_litellm(feature="dspy.LM")
