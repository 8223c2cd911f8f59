"""What happens next, from what was seen (pure).

rules       world, now -> actions, status, wake-up: the order of the rules
refusals    rules that end a run which cannot go on
endings     rules of a run that is over, is to be, or rests
rounds      rules of a run that goes on: plan, scatter, gather
waiting     what keeps a run from going on, and for how long
orders      Jobs that are to be created, with all that they are given
moves       what rules answer
tidying     objects that can go
situation   where a run stands
attempts    what is tried again, and when
limits      what pods may spend
retention   which journals and shards stay
conditions  a verdict as conditions and events
wording     messages for people
"""
