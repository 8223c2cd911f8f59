"""The modules that the local driver's server imports before it forks plans and workers.

The server then freezes all objects, so a fork's garbage collector skips them. Otherwise each collection would write to
them, and so copy their memory pages into the fork: about a tenth of the CPU time of a short compile.
"""

import gc

import swarm_worker.client.warm
import swarm_worker.pod.plan
import swarm_worker.pod.work  # noqa: F401

gc.freeze()
