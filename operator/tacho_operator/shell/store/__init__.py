"""The store: trimmed objects, streamed from the API server by reflectors and read by decisions."""
