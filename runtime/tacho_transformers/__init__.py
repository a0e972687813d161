"""The server program of Transformers: continuous batching, with bitsandbytes, behind ``tacho_server``.

It needs Python 3.10, transformers, torch, bitsandbytes and ``tacho_server``.
"""
