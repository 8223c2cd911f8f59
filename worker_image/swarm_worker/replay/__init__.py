"""Durable replay of stock DSPy optimizers.

digest   names an object graph by its content, the same in every process
codec    carries object graphs between processes, by reference where both sides have the object
store    the journal as a plan sees it: results by key
effects  the expensive steps: what each is called, how it becomes tasks, how a result becomes a return value
engine   the one place where a plan lacks a result: take it, run it here, or leave
hooks    where stock DSPy hands its expensive steps to the engine
execute  runs one cell, anywhere
"""
