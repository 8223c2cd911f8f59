"""From raw facts to the world that a decision is made from (pure).

course    which run it is about, and which ConfigMaps say more about it
world     all that was read -> World
reads     when a pod's output is read, and what a read is worth
output    a pod's output -> its records
records   what records say, where they may be believed
harvest   pods' outputs -> records that the journal takes
spending  what pods spent that are over
"""
