"""What would fit, where what was asked does not."""

from __future__ import annotations

from dataclasses import replace

from tacho_contract.model import ModelFacts
from tacho_operator.core.planner.asked import Asked
from tacho_operator.core.planner.catalog.methods import is_quantized, method_table, stored_method
from tacho_operator.core.planner.choice import GPU_COUNTS, Search, rank
from tacho_operator.core.planner.hardware import Choices, Hardware, gpu_choices
from tacho_operator.core.planner.trial import Trial


def advice(
    asked: Asked, facts: ModelFacts, choices: Choices, search: Search, nearest: Trial
) -> tuple[list[str], dict[str, str]]:
    """What *would* fit: a shorter context, the next method, more GPUs, another GPU of this cluster."""
    hints: list[str] = []
    details: dict[str, str] = {}
    if nearest.longest:
        details["fitsMaxModelLen"] = str(nearest.longest)
        fewer = ""
        if nearest.longest_concurrency != (asked.concurrency or nearest.longest_concurrency):
            details["fitsConcurrency"] = str(nearest.longest_concurrency)
            fewer = f" with context.concurrency {nearest.longest_concurrency}"
        hints.append(f"set context.maxModelLen to {nearest.longest} or less{fewer}")
    free = replace(asked, method="", engine="")
    wider = Search(free, facts, search.architecture, (), search.config)
    if other := _next_method(wider, nearest, facts):
        details["fitsMethod"], details["fitsEngine"] = other.row.method, other.engine
        shorter = ""
        if not other.fits:
            details["fitsMaxModelLen"] = str(other.longest)
            shorter = f" and set context.maxModelLen to {other.longest} or less"
        if other.longest and other.longest_concurrency != (asked.concurrency or other.longest_concurrency):
            details["fitsConcurrency"] = str(other.longest_concurrency)
            shorter += f" with context.concurrency {other.longest_concurrency}"
        hints.append(f"quantize with {other.row.method} ({other.engine}){shorter}")
    if more := _more_gpus(search, nearest):
        details["fitsGpuCount"] = str(more.gpus)
        hints.append(f"set gpu.count to {more.gpus}")
    if elsewhere := _another_gpu(asked, choices, search, nearest):
        details["fitsProduct"] = elsewhere.hardware.gpu.product
        details["fitsProductCount"] = str(elsewhere.gpus)
        count = f" x {elsewhere.gpus}" if elsewhere.gpus > 1 else ""
        hints.append(f"use {elsewhere.hardware.gpu.product}{count}")
    return hints, details


def _next_method(search: Search, nearest: Trial, facts: ModelFacts) -> Trial | None:
    """The best method that fits where the asked one does not, on the same GPUs; where nothing
    fits at all, one that fits a part of the context."""
    trials = [search.attempt(row, nearest.hardware, nearest.gpus) for row in method_table()]
    others = [t for t in trials if t.row.method != nearest.row.method and (t.fits or t.longest)]
    if is_quantized(facts):
        others = [t for t in others if t.row.method == stored_method(facts)]
    if nearest.longest:
        others = [t for t in others if t.fits]
    return min(others, key=lambda t: (not t.fits, rank(t, facts)), default=None)


def _more_gpus(search: Search, nearest: Trial) -> Trial | None:
    for gpus in GPU_COUNTS:
        if gpus <= nearest.gpus or gpus > max(nearest.hardware.most, nearest.gpus):
            continue
        trial = search.forced(nearest.row, nearest.hardware, gpus)
        if trial.fits:
            return trial
    return None


def _another_gpu(asked: Asked, choices: Choices, search: Search, nearest: Trial) -> Trial | None:
    """A kind of GPU that live nodes have and the user did not name."""
    named = {h.gpu.product for h in choices.hardware}
    every = gpu_choices(replace(asked, products=()), search.nodes) if search.nodes is not None else None
    others: list[Hardware] = [h for h in every.hardware if h.gpu.product not in named] if every else []
    for hardware in others:
        for gpus in (n for n in GPU_COUNTS if n <= hardware.most):
            trial = search.forced(nearest.row, hardware, gpus)
            if trial.fits:
                return trial
    return None
