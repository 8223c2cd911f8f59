"""Fine-tunes models, once for the same rows and parameters, however often processes die.

order    what is to be trained: a model, parameters and rows, under a name made from all of them
tuning   where this process has models fine-tuned
hosted   a job at a provider, by the protocol of OpenAI
retirement  when the provider retires a model
weights  where a trainer's result is kept
serving  waits until a server answers for a trainer's result
"""
