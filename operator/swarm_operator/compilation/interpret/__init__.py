"""Derives the World, on which `decide` works, from the facts that `observe` has read (pure).

course    finds the run of a pass, and the ConfigMaps to read for it
world     makes a World from everything that was read
reads     says when to read a pod's output, and whether a read got all of it
output    finds the records in a pod's output
records   validates records
harvest   selects the records of pods' outputs that the journal takes
spending  says what ended pods have spent
"""
