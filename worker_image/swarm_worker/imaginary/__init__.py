"""Language models that exist only in this process, for rehearsals and estimates without network, key or cost."""
