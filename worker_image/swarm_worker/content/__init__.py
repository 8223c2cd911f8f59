"""Names object graphs by their content, and carries them between processes.

digest        names of graphs, the same in every process
codec         graphs as bytes, with references to objects that both sides have
state         the state of an object that counts and travels
places        objects that cannot be copied, by the place where the entrypoint puts them
reachable     objects that a function can reach by the names in its code
shared_state  state that user code keeps from one example to the next
masking       keeps secrets out of data that leave a process
marks         marks in placeholder texts
stand_ins     our functions that replace DSPy's
"""
