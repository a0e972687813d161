"""CTranslate2 behind an OpenAI-compatible server: converts a checkpoint where needed, serves, answers.

Rests on ``tacho_server`` and imports nothing else of this project: it runs inside the engine's image.
"""
