"""Carries out the actions of a pass. Only this folder writes a Compilation's objects.

applier      carries out actions, one after the other
jobs         bodies of Jobs (pure)
pods         bodies of the Jobs' pods (pure)
config_maps  bodies of ConfigMaps (pure)
metadata     owner and labels of all these objects (pure)
"""
