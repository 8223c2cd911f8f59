"""Whether a program does the same in every process: found out before anything is paid for.

rehearsal     program and metric run on a few examples, with imaginary models
twin          the same in a second process, and the comparison
shared_state  what user code keeps from one example to the next
tools         what the tools of agents draw by chance
"""
