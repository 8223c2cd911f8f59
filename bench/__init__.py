"""`make bench`: what compiles cost, in rounds, calls and seconds, against stock DSPy."""
