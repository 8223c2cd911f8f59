"""What requests to a provider cost, and how fast they are sent.

budget           counts what this process spends, within its allowance
price_list       tokens -> USD
longest_request  how much a request may take at most, before it is sent
throttle         every request waits for its turn
turns            turns as this process gives them to itself
limiter_client   turns as the limiter gives them to all pods
"""
