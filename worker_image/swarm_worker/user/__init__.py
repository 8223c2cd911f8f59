"""What the user brings: program, metric, data, models, optimizer; and the digest that binds a journal to it."""
