"""The runtime adapter of an engine whose log is read by patterns, and of the engines behind tacho_server."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tacho_contract.failure import Failure, FailureClass
from tacho_contract.launch import RuntimeConfig
from tacho_engines.base import EngineStartup, Exit, RuntimeAdapter
from tacho_engines.shared.errors import PYTHON, ErrorLines
from tacho_engines.shared.log_patterns import FailurePattern, StartupPatterns, classify, names_cause
from tacho_engines.shared.metrics import MetricNames


def compile_caches(cache_dir: str) -> dict[str, str]:
    """Environment variables that put compiled code of TorchInductor, Triton and CUDA below ``cache_dir``;
    empty for ""."""
    if not cache_dir:
        return {}
    return {
        "TORCHINDUCTOR_CACHE_DIR": f"{cache_dir}/inductor",
        "TRITON_CACHE_DIR": f"{cache_dir}/triton",
        "CUDA_CACHE_PATH": f"{cache_dir}/cuda",
    }


def vllm_caches(cache_dir: str) -> dict[str, str]:
    """The variables of ``compile_caches``, and vLLM's own for its compiled graphs."""
    found = compile_caches(cache_dir)
    return {**found, "VLLM_CACHE_ROOT": f"{cache_dir}/vllm"} if found else {}


class DefaultRun(RuntimeAdapter):
    """The runtime adapter of an engine whose log is read by patterns."""

    program = ""
    """Name of the engine in failure messages."""
    failures: tuple[FailurePattern, ...] = ()
    """Failure patterns of this engine's log, in addition to the common ones."""
    errors: ErrorLines = PYTHON
    startup = StartupPatterns()

    def read(self, startup: EngineStartup, line: str) -> EngineStartup:
        return self.startup.read(startup, line)

    def names_cause(self, line: str) -> bool:
        return names_cause(self.failures, line, self.errors)

    def classify(self, end: Exit, lines: Sequence[str]) -> Failure:
        return classify(self.program, end, lines, self.failures, self.errors)


# --- engines behind tacho_server ------------------------------------------------------------------
TACHO_SERVER_METRICS = MetricNames(
    running=("tacho_server_requests_running",),
    waiting=("tacho_server_requests_waiting",),
    unfinished=("tacho_server_requests_unfinished",),
    generated_tokens=("tacho_server_generation_tokens_total",),
    prompt_tokens=("tacho_server_prompt_tokens_total",),
    by_step=frozenset({"tacho_server_generation_tokens_total"}),
    first_token_seconds=("tacho_server_time_to_first_token_seconds",),
    output_token_seconds=("tacho_server_time_per_output_token_seconds",),
    kv_cache_usage=("tacho_server_kv_cache_usage_ratio",),
)
"""Metric names of engines in the process of tacho_server (``tacho_server/metrics.py``)."""


def server_startup(program: str) -> StartupPatterns:
    """Patterns of the startup values that ``program``, an engine behind tacho_server, logs."""
    return StartupPatterns(
        last_values=(
            re.compile(rf"{program}: weights (?P<weights_bytes>\d+) bytes, loaded in \d+\.\d+ s"),
            re.compile(
                rf"{program}: kv cache (?P<kv_cache_bytes>\d+) bytes, (?P<kv_cache_tokens>\d+) tokens"
            ),
        ),
        fallbacks=(
            (re.compile(rf"{program}: chat: no \((.*)\)"), r"no chat: \1"),
            (re.compile(rf"{program}: falls back: (.*)"), r"\1"),
        ),
    )


def refused_arguments(program: str) -> FailurePattern:
    """The pattern of argparse's error line for an argument that ``program`` does not accept."""
    return FailurePattern(
        pattern=rf"{program}: error: (?P<why>.*)",
        failure_class=FailureClass.INVALID_CONFIG,
        message="the launcher refuses its arguments: {why}",
        next_step="correct spec.engine.extraArgs",
    )


class TachoServerRun(DefaultRun):
    """The runtime adapter of an engine in the process of ``tacho_server``.

    Its arguments are paths, ports and the plan's numbers, then the plan's own switches and the user's.
    """

    bounds_requests = True
    key_variable = "SERVER_API_KEY"

    def command(self, config: RuntimeConfig, model_path: str) -> tuple[str, ...]:
        return (
            *config.entrypoint,
            *("--model", model_path),
            *("--served-model-name", config.served_name),
            *("--host", config.bind_host),
            *("--port", str(config.engine_port)),
            *("--max-model-len", str(config.max_model_len)),
            *("--max-batch", str(config.concurrency)),
            *self.own_switches(config),
            *config.extra_args,
        )

    def own_switches(self, _config: RuntimeConfig) -> tuple[str, ...]:
        """Arguments that only this engine's launcher has."""
        return ()
