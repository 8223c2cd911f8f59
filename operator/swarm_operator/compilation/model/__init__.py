"""What a pass has seen, what it may do, and names computed from both (pure).

world         a Compilation with its objects and its journal, as immutable facts
actions       what a decision asks for
roles         what the pods of a Job are for, a row for each role
object_names  ids and names: whoever repeats an action computes the same
"""
