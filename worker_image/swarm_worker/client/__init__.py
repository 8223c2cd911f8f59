"""Hooks into DSPy's LM client, the one part of DSPy that differs between the versions that we support.

flow              code that waits, written once for threads and for coroutines
call              an LM call, and the interface of a client, independent of versions
dspy34            the client of DSPy 3.4, which is DSPy's own
dspy33            the client of DSPy 3.3, which is LiteLLM
installed         chooses the client of the installed DSPy
versions          checks DSPy's internals
permanent_errors  ends a run for errors that another attempt would meet again
advice            messages about API keys, in terms of the spec
lazy              imports LiteLLM before several threads need it
prices            avoids the download of prices
warm              imports modules that the client always needs
"""
