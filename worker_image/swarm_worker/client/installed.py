"""Chooses the client for the installed DSPy."""

import functools

from swarm_worker.client.call import Client
from swarm_worker.client.versions import has_own_client


@functools.cache
def client() -> Client:
    found: Client
    if has_own_client():
        from swarm_worker.client import dspy34 as found
    else:
        from swarm_worker.client import dspy33 as found
    return found
