"""Whether loading a model runs Python code of its repository, which the user has to allow."""

from __future__ import annotations

from collections.abc import Set
from functools import cache
from pkgutil import get_data

from tacho_contract.failure import FailureClass
from tacho_engines.base import EngineRefusal, Placement
from tacho_engines.shared.compatibility import refused

LIBRARY = "transformers-5.19.0"


@cache
def in_transformers() -> frozenset[str]:
    """Model types and classes of language models that Transformers has itself.

    ``python -m tests.engines.transformers_classes`` wrote the file from the package.
    """
    data = get_data(__package__, f"{LIBRARY}.txt")
    assert data is not None, "shipped with this package"
    return frozenset(data.decode().split())


def code_refusal(
    placement: Placement, types: Set[str], classes: Set[str] | None = None
) -> EngineRefusal | None:
    """The refusal of a model that maps its classes to code of its repository (auto_map) and that the user did
    not allow to; None if the engine has classes of its own.

    ``types``: the model types with a configuration class. ``classes``: the architectures; None: the type
    decides.
    """
    shape = placement.architecture
    if not shape.needs_remote_code or placement.options.trust_remote_code:
        return None
    missing = []
    if shape.configuration not in types:
        missing.append(f"the configuration {shape.configuration or 'without a model_type'}")
    if classes is not None and shape.name not in classes:
        missing.append(shape.name)
    if not missing:
        return None
    return refused(
        FailureClass.INVALID_CONFIG,
        f"there is no class for {' and '.join(missing)} but in code of the model's repository, which is not "
        "executed",
        "Read that code, and set model.trustRemoteCode to true if it may run",
    )
