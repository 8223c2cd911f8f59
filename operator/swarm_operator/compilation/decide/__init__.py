"""Decides what happens next, from a World, which is everything that a pass has read (pure).

rules       asks the rules in order, and derives actions, status and the time of the next pass
refusals    rules that end a run which cannot go on
endings     rules of a run that is over, is ending, or is suspended
rounds      rules of a run that goes on: plan, scatter, gather
waiting     what keeps a run from going on, and how long the run waits for its removal
orders      Jobs to create, with everything that they get
moves       Move, which is the answer of a rule
tidying     objects that can be deleted
situation   facts derived from a World
attempts    attempts, and when the next attempt may begin
limits      what a run may still spend, and which limit ends it
retention   which journals and shards stay
conditions  makes conditions and events from the Finding of a rule
wording     messages for people
"""
