"""Every leaf of spec by its path, so that a table can be tested to name each of them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from tacho_operator.api.crd.schema import Schema, structural
from tacho_operator.api.spec.spec import LLMDeploymentSpec


@cache
def leaf_paths() -> tuple[str, ...]:
    """The paths of all leaves of spec, sorted: `model.uri`, `engine.env[].name`.

    A leaf is a scalar, a map with free keys (`podTemplate.metadata.labels`) or a list of scalars
    (`model.files`). Lists of objects are entered, their items written `[]`.
    """
    return tuple(sorted(_leaves(structural(LLMDeploymentSpec), "")))


def _leaves(schema: Schema, path: str) -> Iterator[str]:
    if schema["type"] == "array" and schema["items"]["type"] == "object":
        yield from _leaves(schema["items"], f"{path}[]")
    elif "properties" in schema:
        for name, child in schema["properties"].items():
            yield from _leaves(child, f"{path}.{name}" if path else name)
    else:
        yield path
