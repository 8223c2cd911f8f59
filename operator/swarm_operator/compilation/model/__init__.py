"""Facts that a pass has seen, actions that it may take, and the names of objects (pure).

world         a Compilation with its objects and its journal, as immutable facts
actions       the actions of a decision
roles         the roles of pods, one row per role
object_names  ids and names, computed so that repeated actions use the same ones
"""
