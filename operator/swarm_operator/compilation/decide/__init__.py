"""What happens next, from what was seen (pure).

rules       world, now -> actions, status, wake-up: the state machine
situation   where a run stands
attempts    what is tried again, and when
limits      what pods may spend
retention   which journals and shards stay
conditions  a verdict as conditions and events
wording     messages for people
"""
