"""Language models that exist in this process only: for rehearsals and estimates, without a network, a key or a cost."""
