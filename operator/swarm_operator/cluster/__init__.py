"""Communication with an API server: the client, resources, errors, the server's clock, and the operator's Lease."""
