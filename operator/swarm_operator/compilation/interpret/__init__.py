"""Derives the world, on which decisions are based, from raw facts (pure).

course    the run of a pass, and the ConfigMaps to read for it
world     everything that was read -> World
reads     when a pod's output is read, and whether a read was complete
output    a pod's output -> its records
records   validates records
harvest   pods' outputs -> records that the journal takes
spending  what ended pods have spent
"""
