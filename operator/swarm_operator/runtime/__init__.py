"""Keeps the operator's process going, for any kind of object: kopf, the queue of passes, health."""
