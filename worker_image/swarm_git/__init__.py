"""Fetches a program's files from a git repository, and publishes a winner to one.

It uses the git command line. It knows no DSPy, no Kubernetes, and none of the worker.
"""
