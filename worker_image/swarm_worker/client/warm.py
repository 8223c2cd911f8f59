"""To be imported ahead: what the installed client imports at its first call.

LiteLLM fails where several threads are the first to need it.
"""

from swarm_worker.client import prices
from swarm_worker.versions import has_own_client

if not has_own_client():
    prices.keep_offline()
    from dspy.clients._litellm import get_litellm

    get_litellm(feature="dspy.LM")
