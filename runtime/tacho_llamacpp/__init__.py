"""llama-server over the llama.cpp that PyPI's ``xllamacpp`` carries.

Stands alone: Python 3.10, xllamacpp and what of tacho_server needs the standard library only, so that the
engine image holds no more than that.
"""
