"""DSPy's LM client: the one part of DSPy that differs between the versions that we support.

flow              code that waits, written once for threads and for coroutines
call              one LM call, and what a client must do, in words of no version
dspy34            DSPy 3.4: a client of its own
dspy33            DSPy 3.3: LiteLLM
installed         the one for the DSPy that is installed
versions          what we take for granted of DSPy's insides
permanent_errors  refusals that no other attempt would change
advice            what people are told of them, in the words of the spec
lazy              imports LiteLLM before several threads need it
prices            spares a download of prices
warm              imports what the client always needs
"""
