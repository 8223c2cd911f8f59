"""The limiter decides when a pod may send a request to a provider, so that all pods together keep to models.*.limits.

tokens    counts the tokens of the last minute's requests (pure)
rate      applies the limits of one group (pure)
server    has the queue of each group, over TCP; the protocol is in `swarm_wire.rates`

The limiter knows no provider, no key and no content of requests. When it restarts, it has forgotten the last minute's
tokens and the running requests. Pods then ask again for their waiting requests.
"""
