"""The documents that operator and runtime exchange, as dataclasses: one file per subject.

Standard library only, frozen data, no I/O. Documents are JSON with camelCase keys (``codec``). Readers ignore
unknown keys, so that an operator reads the reports of runtimes up to two versions older.
"""

__version__ = "0.1.0"

SCHEMA = 1
"""Version of the documents. It rises only when older readers would misread a newer document."""
