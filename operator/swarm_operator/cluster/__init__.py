"""How one talks to an API server: client, resources, errors by what happens next, its clock, the lease."""
