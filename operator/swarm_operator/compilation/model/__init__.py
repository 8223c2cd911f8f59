"""Facts that a pass has read, actions that it may take, and the names of objects (pure).

world         a Compilation with its objects and its journal, as immutable facts
actions       the actions of a decision
roles         the job roles as a table
object_names  ids and names, which the operator computes so that a repeated action uses the same ones
"""
