"""The only writer.

applier      carries out actions, one after the other
jobs         bodies of Jobs (pure)
pods         bodies of their pods (pure)
config_maps  bodies of ConfigMaps (pure)
metadata     owner and labels of all of them (pure)
"""
