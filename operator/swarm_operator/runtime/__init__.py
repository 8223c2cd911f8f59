"""What keeps the process going, whatever it is that it operates: kopf, the queue of passes, health."""
