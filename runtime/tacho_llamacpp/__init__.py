"""llama-server over the llama.cpp that PyPI's ``xllamacpp`` carries.

Stands alone: Python 3.10 and xllamacpp, nothing else of this project, so that the engine image holds
no more than that.
"""
