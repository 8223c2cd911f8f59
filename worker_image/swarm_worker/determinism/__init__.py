"""Checks that a program does the same in every process, before anything is paid for.

rehearsal  runs program and metric on a few examples, with imaginary models
twin       does the same in a second process, and compares
tools      finds random draws in the tools of agents
"""
