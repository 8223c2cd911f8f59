"""To be imported ahead: what the installed client imports at its first call, whatever that asks."""

from swarm_worker.client.lazy import import_litellm
from swarm_worker.client.versions import has_own_client

if not has_own_client():
    import_litellm()
