"""Runs ``tacho plan``: reads the manifest, inspects the model, plans, prints.

The screen has the choice, the memory as bars, and the alternatives.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tacho_cli.inputs import document
from tacho_cli.inputs.kubectl import KubectlTarget
from tacho_cli.inputs.model import claim_directories, cluster_form, inspect_model
from tacho_cli.output import Format, console, grid, print_document, say
from tacho_cli.plan import hardware
from tacho_cli.plan.hardware import Hardware
from tacho_cli.problems import CommandError, ExitCode, describe, failure_document, no_plan_code
from tacho_cli.status.rows import resource_name
from tacho_contract.failure import Failure
from tacho_contract.units import GIB, counted, gib
from tacho_operator.api.status.plan import Alternative
from tacho_operator.api.types import LLMDeployment
from tacho_operator.core.planner.messages import within
from tacho_operator.core.planner.plan import plan_model
from tacho_operator.core.planner.probe_budget import ProbeBudget, probe_budget
from tacho_operator.core.planner.types import ModelPlan, PlanFailure, Prediction
from tacho_operator.core.revisions.identity import desired_revision_name
from tacho_operator.core.status.build import failure_status, plan_status
from tacho_operator.core.types import Config, Manifest


def answer(
    file: str,
    name: str,
    claims: Sequence[str],
    *,
    gpu: str,
    nodes_file: str,
    cluster: KubectlTarget,
    output: Format,
) -> int:
    """Prints the plan, or why planning failed; returns the exit code. Raises CommandError for bad input.

    ``cluster``: the cluster whose nodes are planned for; not read where the options name none.
    """
    raw = document.read(file, name)
    if gpu:
        raw = hardware.override_gpu(raw, gpu)
    _, resource = document.typed(raw, file)
    folders = claim_directories(list(claims))
    target = None if cluster == KubectlTarget() else cluster
    if target and not target.namespace:
        target = replace(target, namespace=resource.metadata.namespace)
    found = hardware.choose(resource.spec, gpu=gpu, nodes_file=nodes_file, target=target)
    for note in found.notes:
        say(note)
    try:
        facts = inspect_model(resource, folders)
    except CommandError as error:
        if error.failure and output in ("json", "yaml"):
            print_document(_document(error.failure, {}), output)
        raise
    plan = plan_model(
        resource.spec, facts, nodes=found.nodes, history=found.history, config=Config(tacho_image="")
    )
    if isinstance(plan, PlanFailure):
        return _refused(plan, resource, found, output)
    return _fitting(plan, resource, found, output)


def _fitting(plan: ModelPlan, resource: LLMDeployment, found: Hardware, output: Format) -> int:
    if output == "name":
        print(resource_name(resource.metadata.name))
    elif output in ("table", "wide"):
        budget = probe_budget(resource.spec, plan)
        show_plan(resource.metadata.name, plan, found.source, budget, wide=output == "wide")
    else:
        revision = desired_revision_name(cluster_form(resource))
        print_document(plan_status(plan, resource.spec, revision).to_wire(), output)
    return ExitCode.OK


def _refused(plan: PlanFailure, resource: LLMDeployment, found: Hardware, output: Format) -> int:
    if output == "name":
        for line in describe(plan.failure):
            say(line)
    elif output in ("table", "wide"):
        show_refusal(resource.metadata.name, plan, found.source, wide=output == "wide")
    else:
        print_document(_document(plan.failure, failure_status(plan).to_wire()), output)
    return no_plan_code(plan.failure)


def _document(failure: Failure, view: Manifest) -> Manifest:
    """A failure as JSON, with ``predicted`` only where memory was computed."""
    details = {"details": failure.details} if failure.details else {}
    predicted = {"predicted": view["predicted"]} if "predicted" in view else {}
    reported = {**failure_document(failure), **details}
    return {"failure": reported, **predicted, "alternatives": view.get("alternatives", [])}


BAR_CELLS = 40
BAR, FREE = "█", "·"
"""Characters of used and of free memory in a bar."""
METHOD_CELLS = len("compressed-tensors,")
COLOURS = {"weights": "blue", "KV cache": "green", "activations": "yellow", "CUDA graphs": "magenta"}


def show_plan(
    name: str, plan: ModelPlan, source: str, probe: ProbeBudget | None = None, *, wide: bool = False
) -> None:
    """Prints the plan on stdout. ``probe``: the budget of its measurement. ``wide``: with a row for
    each alternative."""
    screen = console()
    screen.print(Text.assemble((f"{name}: fits", "bold green"), f", planned {source}"))
    screen.print(plan.message, markup=False, highlight=False)
    screen.print()
    screen.print(_choice(plan, probe))
    _show_memory(screen, plan)
    _show_alternatives(screen, plan.alternatives, wide=wide)


def show_refusal(name: str, plan: PlanFailure, source: str, *, wide: bool = False) -> None:
    """Prints on stdout why planning failed, and which change would make a plan fit."""
    screen, failure = console(), plan.failure
    screen.print(Text.assemble((f"{name}: {failure.failure_class}", "bold red"), f", planned {source}"))
    screen.print(failure.message, markup=False, highlight=False)
    screen.print(f"-> {failure.next_step}", markup=False, highlight=False)
    _show_memory(screen, plan)
    _show_alternatives(screen, plan.alternatives, wide=wide)


def _choice(plan: ModelPlan, probe: ProbeBudget | None) -> Table:
    gpu = f"{plan.gpu_count} x {plan.gpu_product}" if plan.gpu_count else "none (CPU)"
    if plan.tensor_parallel * plan.pipeline_parallel > 1:
        gpu += f", tensor {plan.tensor_parallel} x pipeline {plan.pipeline_parallel}"
    rows = {
        "engine": f"{plan.engine} {plan.engine_version}".strip(),
        "quantization": plan.quantization_method,
        "GPU": gpu,
        "context": f"{counted(plan.concurrency, 'request')} x {plan.max_model_len} tokens",
        "model": f"{counted(plan.files.file_count, 'file')}, {gib(plan.files.total_bytes)}",
    }
    measured = {"probe": f"{probe.seconds} s. {probe.message}"} if probe else {}
    return grid(("", ""), (rows | _speed(plan) | measured).items(), wrap=("",))


def _speed(plan: ModelPlan) -> dict[str, str]:
    """Expected output tokens per second, with a label for each row; empty where no speed is predicted."""
    found, best = plan.predicted, _rate(plan.predicted.decode_tokens_per_second)
    if found.expected_decode_tokens_per_second is None:
        return {}
    capacity = found.capacity_within_percent or found.output_within_percent  # former plans have one for both
    bands = (found.decode_within_percent, found.output_within_percent, capacity)
    one, several, most = (within((percent or 0) / 100) for percent in bands)
    rates = {
        "one stream": (found.expected_decode_tokens_per_second, one + (f"; {best} at best" if best else "")),
        counted(plan.concurrency, "stream"): (found.expected_output_tokens_per_second, several),
        "capacity": (
            found.expected_capacity_tokens_per_second,
            f"with {counted(found.expected_capacity_concurrency or 0, 'stream')}, {most}",
        ),
    }
    rows = {name: f"{_rate(rate)} tok/s expected, {text}" for name, (rate, text) in rates.items()}
    if found.expected_capacity_concurrency == 0:
        rows["capacity"] = "not even one stream within the service level"
    return rows


def _rate(tokens_per_second: float | None) -> str:
    return "" if tokens_per_second is None else f"{tokens_per_second:.0f}"


def memory_rows(found: Prediction, whole_bytes: int) -> list[tuple[str, int]]:
    """(name, bytes) of the memory parts in the order engines fill them; parts without a name of their own are
    ``other``."""
    parts = [
        ("weights", found.weights_bytes),
        ("KV cache", found.kv_cache_bytes),
        ("activations", found.activation_bytes),
        ("CUDA graphs", found.graph_bytes or None),
    ]
    rows = [(name, size) for name, size in parts if size is not None]
    total = found.total_bytes or 0
    rest = total - sum(size for _, size in rows)
    if rest > 0:
        rows.append(("other", rest))
    if whole_bytes > total:
        rows.append(("free", whole_bytes - total))
    return rows


def _show_memory(screen: Console, plan: ModelPlan | PlanFailure) -> None:
    """Prints the predicted memory; nothing where it is not predicted."""
    if plan.predicted.total_bytes:
        screen.print()
        screen.print(_memory(plan))


def _memory(plan: ModelPlan | PlanFailure) -> Table:
    """A table with one bar per part of the memory, on the scale of the total: each begins at the end of the
    previous one.
    """
    found = plan.predicted
    whole = max(plan.gpu_memory_bytes, found.budget_bytes or 0, found.total_bytes or 0)
    where = "of the most loaded GPU" if plan.gpu_count else "of the host process"
    rows, before = [], 0
    for name, size in memory_rows(found, whole):
        start, end = (round(BAR_CELLS * edge / whole) for edge in (before, before + size))
        bar = Text(" " * min(start, BAR_CELLS - 1))
        if name == "free":
            bar.append(FREE * (end - start), style="dim")
        else:
            bar.append(BAR * max(1, end - start), style=COLOURS.get(name, "cyan"))
        rows.append((*_sizes(name, size, whole), bar))
        before += size
    if found.budget_bytes is not None:
        rows.append(_sizes("budget", found.budget_bytes, whole, "bold"))
    if plan.gpu_count and plan.gpu_memory_bytes:
        rows.append(_sizes("GPU", plan.gpu_memory_bytes, whole, "bold"))
    title = f"Memory {where} (predicted)"
    table = grid(("PART", "GIB", "SHARE", ""), rows, right=("GIB", "SHARE"), title=title)
    if found.kv_cache_tokens is not None:
        times = f"{found.max_concurrency:.1f} x {plan.max_model_len}" if found.max_concurrency else ""
        counted = f"{found.kv_cache_tokens} tokens"
        if found.kv_cache_workload_tokens is None:
            table.caption = f"The KV cache holds {', '.join(filter(None, (counted, times)))} (predicted)."
        else:
            table.caption = f"The KV cache holds {times} (predicted); vLLM's log counts {counted}."
        table.caption_justify = "left"
    return table


def _sizes(name: str, size_bytes: int, whole_bytes: int, style: str = "") -> tuple[Text, ...]:
    cells = (name, f"{size_bytes / GIB:.2f}", f"{100 * size_bytes / whole_bytes:.0f} %")
    return tuple(Text(cell, style=style) for cell in cells)


def _show_alternatives(screen: Console, alternatives: Iterable[Alternative], *, wide: bool) -> None:
    """Prints the alternatives: fitting ones first, else in the planner's order."""
    found = sorted(alternatives, key=lambda item: not item.fits)
    found = found if wide else merged(found)
    if not found:
        return
    rows = []
    for item in found:
        why = f"{item.reason}: {item.message}" if item.message else item.reason
        fits = Text("yes", style="green") if item.fits else Text("no", style="red")
        rate = _rate(item.expected_decode_tokens_per_second)
        rows.append((item.engine, item.method, item.product or "", fits, rate, why))
    headings = ("ENGINE", "QUANT", "GPU", "FITS", "TOK/S", "WHY NOT")
    title = "Alternatives (tok/s of one stream, expected)"
    table = grid(headings, rows, right=("TOK/S",), wrap=("QUANT", "WHY NOT"), title=title)
    table.columns[1].max_width = METHOD_CELLS
    screen.print()
    screen.print(table)


def merged(alternatives: Iterable[Alternative]) -> list[Alternative]:
    """Alternatives of one engine that are rejected for the same reason, as one row."""
    groups: dict[Alternative, list[Alternative]] = {}
    for item in alternatives:
        ruled_out = not item.fits and item.decode_tokens_per_second is None
        words = (item.message or "").removeprefix(f"{item.method} ")
        key = replace(item, method="", message=words) if ruled_out else item
        groups.setdefault(key, []).append(item)
    return [
        items[0] if len(items) == 1 else replace(key, method=", ".join(item.method for item in items))
        for key, items in groups.items()
    ]
