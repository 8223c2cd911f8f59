"""Object graphs by their content: named, and carried between processes.

digest      names of graphs, the same in every process
codec       graphs as bytes, by reference where both sides have the object
state       what of an object counts, and travels
places      objects that cannot be copied, by the place where the entrypoint puts them
reachable   what a function can reach by the names in its code
masking     secrets, kept out of whatever leaves a process
marks       marks in texts for results that are not there yet
stand_ins   functions of ours in the place of DSPy's
"""
