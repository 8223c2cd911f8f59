"""The limiter: says whose turn it is to ask a provider, so that all pods together keep to models.*.limits.

tokens    what the requests of the last minute took: pure
rate      one group's limits: pure
server    the queue of each group, over TCP; the protocol is in `swarm_wire.rates`

It knows no provider, no key and nothing of what is asked. When it starts again, requests that waited ask again; it has
forgotten the last minute's tokens, and what was under way.
"""
