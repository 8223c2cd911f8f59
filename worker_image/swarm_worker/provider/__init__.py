"""Cost and rate of requests to a provider.

budget           keeps the spending of this process within its allowance
price_list       converts tokens to USD
longest_request  the most tokens that a request may take
throttle         makes every request wait for its turn
turns            turns within this process
limiter_client   turns from the limiter, for all pods
"""
