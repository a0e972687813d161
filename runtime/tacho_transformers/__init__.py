"""Transformers' continuous batching, with bitsandbytes, behind tacho's server of in-process engines.

Stands alone: Python 3.10, transformers, torch, bitsandbytes and ``tacho_server``.
"""
