"""The only reader of the cluster.

observer     reads everything of one Compilation for a pass
objects      objects of the API server -> facts
config_maps  the journal's ConfigMaps
pod_logs     the output of pods
"""
