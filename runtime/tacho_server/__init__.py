"""One OpenAI-compatible HTTP server for engines that are libraries: the engine is a ``Backend`` behind it.

Stands alone: Python 3.10, FastAPI, uvicorn and prometheus_client, nothing else of this project, so that an
engine image holds no more than that.
"""
