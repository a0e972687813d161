"""The server program of CTranslate2: converts a checkpoint where needed, and serves it over the OpenAI API.

It imports ``tacho_server`` and nothing else of this project, as it runs inside the engine's image.
"""
