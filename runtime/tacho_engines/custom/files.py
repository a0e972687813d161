"""What an engine the person brings loads is the person's to know: all files, not parsed."""

from __future__ import annotations

from tacho_engines.shared.files import ALL_FILES

FILES = ALL_FILES
