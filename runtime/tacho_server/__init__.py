"""An OpenAI-compatible HTTP server for engines that are Python libraries: each engine is a ``Backend`` behind
it.

It imports FastAPI, uvicorn and prometheus_client, nothing else of this project, and runs on Python 3.10.
"""
