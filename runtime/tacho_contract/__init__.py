"""The documents that operator and runtime exchange, as dataclasses: one file per subject.

Standard library only, frozen data, no I/O. Documents are JSON with camelCase keys (``codec``). Readers ignore
unknown keys, so that operator N reads reports of runtimes back to N-2.
"""

__version__ = "0.1.0"

SCHEMA = 1
"""Version of the documents. Raised only when an old reader would misread a new one."""
