"""Reads from the cluster what a pass needs.

observer     reads everything of one Compilation for a pass
objects      converts objects of the API server to facts
config_maps  reads the journal's ConfigMaps
pod_logs     reads the output of pods
"""
