"""How fast this process asks providers.

requests  every request waits for its turn; one that was too many is sent again
turns     turns as this process gives them to itself: where no limit is set, a provider's objections are one
limiter   turns as the limiter gives them to all pods: models.*.limits
"""
