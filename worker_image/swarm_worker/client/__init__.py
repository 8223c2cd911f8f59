"""DSPy's LM client: the one part of DSPy that differs between the versions that we support.

call        one LM call, and what a client must do, in words of no version
dspy34      DSPy 3.4: a client of its own
dspy33      DSPy 3.3: LiteLLM
longest     how much a call may take at most
installed   the one for the DSPy that is installed
lazy        imports LiteLLM before several threads need it
warm        imports what that one always needs
"""
