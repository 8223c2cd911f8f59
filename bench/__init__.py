"""`make bench` measures what compiles cost in rounds, calls and seconds, and compares them with stock DSPy."""
