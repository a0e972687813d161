"""How long a decoding step of one stream takes, as data: where an engine was run and timed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRow:
    """One law, fitted to measured steps: ``bytes read / bandwidth x traffic + layers x layer_microseconds``.

    It holds for dense models on one whole GPU of that generation, as the engine runs by itself.
    """

    methods: tuple[str, ...]
    schemes: tuple[str, ...] = ("",)
    """How the checkpoint is quantized (``StoredQuantization.scheme``); "": it is not."""
    capability: tuple[int, int]
    """Compute capability of the GPUs it was timed on; of others nothing is known."""
    since: str
    """The engine's version that was timed; earlier ones are not expected anything of, and plans name it."""
    traffic: float
    """Times as long as the memory's bandwidth asks for: 1.0 is the bound, and more what a kernel does with
    the weights besides reading them."""
    layer_microseconds: float
    """Of each layer, whatever it reads."""
    alike: tuple[str, ...] = ()
    """Switches, without dashes in front, and environment variables with which steps are the same. With any
    other nothing is known: engines have hundreds, by several names each."""
    ran: str
    """What was run, as part of a sentence."""
    source: str
    """Rows that it was fitted on."""

    def seconds(self, reading_seconds: float, layers: int) -> float:
        """A step that needs ``reading_seconds`` at the full bandwidth."""
        return reading_seconds * self.traffic + layers * self.layer_microseconds / 1e6
