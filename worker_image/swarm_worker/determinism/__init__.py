"""Checks that a program does the same in every process, before anything is paid for.

rehearsal  runs program and metric on a few examples, with imaginary models
twin       rehearses in a second process, too, and compares what both have observed
tools      finds random draws in the tools of agents
"""
