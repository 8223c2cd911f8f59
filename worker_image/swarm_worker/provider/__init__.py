"""Limits the cost and the rate of requests to providers.

budget           keeps the spending of this process within its allowance
price_list       converts tokens to USD
latency          measures how long a provider takes
longest_request  computes the most tokens that a request may take
throttle         makes every request wait for its turn
turns            gives turns to send requests within this process
limiter_client   gets turns to send requests from the limiter, which serves all pods
"""
