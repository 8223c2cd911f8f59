"""Communication with an API server: client, resources, errors by their consequence, its clock, the lease."""
