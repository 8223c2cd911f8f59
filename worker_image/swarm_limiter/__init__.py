"""The limiter: decides when a pod may send a request to a provider, so that all pods together keep to models.*.limits.

tokens    tokens of the last minute's requests: pure
rate      one group's limits: pure
server    the queue of each group, over TCP; the protocol is in `swarm_wire.rates`

It knows no provider, no key and no content of requests. After a restart, waiting requests ask again; the limiter has
forgotten the last minute's tokens and the running requests.
"""
