"""Receives webhooks of git servers, in a process of its own. A webhook only asks a trigger to look now.

__main__    runs the process
server      answers requests, and writes the time of a request into the trigger's status
signatures  finds out whether a request comes from somebody who has the key (pure)
"""
