"""The server program of llama.cpp: llama-server on top of PyPI's ``xllamacpp``.

It imports xllamacpp, and of tacho_server only what needs the standard library, so that the engine image
contains no more.
"""
