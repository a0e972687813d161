"""Lists the model types and the classes of language models that the installed Transformers has.

python -m tests.engines.transformers_classes > runtime/tacho_engines/shared/transformers-VERSION.txt
"""

from __future__ import annotations

from itertools import chain
from typing import Any

TABLES = ("CAUSAL_LM", "IMAGE_TEXT_TO_TEXT", "MULTIMODAL_LM")


def names() -> list[str]:
    """Every model type with a configuration class, and every class that generates text."""
    from transformers.models.auto import configuration_auto, modeling_auto  # type: ignore[import-not-found]

    tables: list[Any] = [getattr(modeling_auto, f"MODEL_FOR_{each}_MAPPING_NAMES") for each in TABLES]
    classes = ([c] if isinstance(c, str) else c for table in tables for c in table.values())
    return sorted({*configuration_auto.CONFIG_MAPPING_NAMES, *chain.from_iterable(classes)})


if __name__ == "__main__":
    print("\n".join(names()))
