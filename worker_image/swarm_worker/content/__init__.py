"""Names object graphs by their content, and carries them between processes.

digest        names graphs, the same in every process
codec         writes graphs as bytes, with references to objects that both processes have
json_form     writes answers to LM calls as JSON
state         says which state of an object counts and travels
places        names objects that cannot be copied, by their place in the program or metric
reachable     objects that a function can reach by the names in its code
shared_state  state that user code keeps from one example to the next
masking       keeps secrets out of data that leave a process
marks         marks in placeholder texts
stand_ins     our functions that replace DSPy's
outcome       the outcome of a cell
packages      a digest of the installed packages
"""
