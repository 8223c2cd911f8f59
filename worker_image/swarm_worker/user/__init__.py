"""The user's program, metric, data, models and optimizer; and the digest that binds a journal to them."""
