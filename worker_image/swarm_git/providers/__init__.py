"""The dialects of pull requests: a module for each provider."""
