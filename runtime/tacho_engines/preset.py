"""A server by others that an engine's command can be, as data: ``spec.engine.custom.preset``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tacho_engines.profile import EngineProfile


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """How a third-party server is started, as data: ``spec.engine.custom.preset``.

    Switches may hold {max_model_len}, {longest_prompt}, {concurrency}, {tensor} and {pipeline}, and the
    command the $(TACHO_…) that only the pod knows.
    """

    profile: EngineProfile
    """Its image, command (``image.entrypoint``) and interpreter; the name is that of the engine."""
    name: str
    """Name of the preset, as in ``spec.engine.custom.preset``."""
    health_path: str
    """Answers 2xx once the model serves."""
    version_path: str = ""
    """Where a JSON document has the server's ``version``; "": nowhere."""
    api_key_variable: str = ""
    """The variable that it takes an API key from; "": from its command line, where a key is no secret, or not
    at all."""
    context: tuple[str, ...]
    """Switches of the planned context."""
    takes_concurrency: bool = True
    """False: no switch bounds how many requests run at once."""
    tensor: tuple[str, ...] = ()
    """Switches that split layers over GPUs; not given for one."""
    pipeline: tuple[str, ...] | None = None
    """Switches that divide layers among groups of GPUs, not given for one; None: it cannot."""
    spreads_layers: bool = False
    """The server distributes layers over GPUs by itself (those that tensor parallelism does not split)."""
    trust_remote_code: tuple[str, ...] = ()
    """(): it never executes code of the model's repository."""
    methods: Mapping[str, tuple[str, ...]]
    """Switches by quantization method. What the checkpoint alone decides is ``none``."""
    cache_types: Mapping[str, tuple[str, ...]]
    """Switches by type of the KV cache."""
    caveat: str = ""
    """What a user must know before the first start."""
    source: str
    """Where the switches are from, with the version."""
