"""The only writer.

applier    carries out actions, one after the other
manifests  bodies of Jobs and ConfigMaps (pure)
"""
