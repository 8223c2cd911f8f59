"""Imports the modules that the installed client needs at its first call.

The local driver's server imports this module before it forks.
"""

from swarm_worker.client.lazy import import_litellm
from swarm_worker.client.versions import has_own_client

if not has_own_client():
    import_litellm()
