"""To be imported ahead: what the installed client imports at its first call."""

import os

from swarm_worker.versions import has_own_client

if not has_own_client():
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else it asks the internet for prices
    from dspy.clients._litellm import get_litellm

    get_litellm(feature="dspy.LM")
