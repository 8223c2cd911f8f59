"""Decides what happens next from a world (pure).

rules       world, now -> actions, status, wake-up: the order of the rules
refusals    rules that end a run which cannot go on
endings     rules of a run that is over, is ending, or is suspended
rounds      rules of a run that goes on: plan, scatter, gather
waiting     obstacles to a run, and how long it waits for their removal
orders      Jobs to create, with everything that they get
moves       the answers of rules
tidying     objects that can be deleted
situation   facts derived from a world
attempts    attempts, and when the next may begin
limits      what a run may still spend, and which limit ends it
retention   which journals and shards stay
conditions  a verdict as conditions and events
wording     messages for people
"""
