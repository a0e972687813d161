"""How well the planner predicts real starts of vLLM; writes results.json and benchmarks/lab/planner.md.

python -m benchmarks.planner.run [--check]

The cases are benchmarks/planner/data/engine_logs.json; what was started on H200s and H100s is judged start by
start besides (starts.py). The held-out ones were chosen by hash of the case's
name: the first before any constant was fitted, later ones as they were added. No constant was fitted on them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import Any

from benchmarks.planner import starts
from benchmarks.planner.cases import Case, called_fitting, cases, kv_error, predict, weights_error
from benchmarks.planner.models import facts
from benchmarks.planner.peers import PEERS, Answer, StartCase
from tacho_contract.units import GIB, MIB
from tacho_engines.hardware.gpus import rows_for
from tools.pages import ROOT, between_markers, settle, table

RESULTS = ROOT / "benchmarks/planner/results.json"
PAGE = ROOT / "benchmarks/lab/planner.md"
OWN = "own measurement"
Errors = Callable[[Case], float | None]


def is_published(case: Case) -> bool:
    return not case.row["source"].startswith(OWN)


def summary(found: Iterable[Case], error: Errors) -> dict[str, Any]:
    """Median and worst absolute relative error, in percent."""
    errors = {case.name: value for case in found if (value := error(case)) is not None}
    worst = max(errors, key=lambda name: abs(errors[name]))
    return {
        "cases": len(errors),
        "medianPercent": round(100 * median(map(abs, errors.values())), 2),
        "worstPercent": round(100 * abs(errors[worst]), 2),
        "worstCase": worst,
    }


def ours(case: Case) -> Answer:
    """Fits when one request of the asked length fits, by the rule that plans are made with."""
    found = predict(case)
    words = f"{found.cache.tokens} tokens" if found.available_bytes > 0 else "no cache"
    return Answer(called_fitting(case), found.weights_bytes, words)


def question(case: Case) -> StartCase:
    """The case as the other estimators are asked."""
    model = facts(case.row["model"])
    if model.architecture is None:
        raise ValueError(f"{case.name}: no architecture")
    if case.gpu.memory_bytes is None:
        raise ValueError(f"{case.name}: no memory")
    label = int(rows_for(case.row["gpu"])[0].memory_mib[0]) * MIB
    return StartCase(
        facts=model,
        architecture=model.architecture,
        gpus=case.row["gpus"],
        gpu_bytes=case.gpu.memory_bytes,
        gpu_label_bytes=label,
        max_model_len=case.row["maxModelLen"] or model.architecture.max_positions,
    )


def answers(case: Case) -> dict[str, Answer]:
    """What each estimator says of the case."""
    return {"tacho": ours(case), **{name: formula(question(case)) for name, formula in PEERS.items()}}


def verdicts(found: Sequence[Case]) -> dict[str, dict[str, Any]]:
    """How often each estimator was right about whether the server starts, and how near on weights."""
    said = {case.name: answers(case) for case in found}
    table: dict[str, dict[str, Any]] = {}
    for name in ("tacho", *PEERS):
        judged = [(c.row["started"], said[c.name][name].fits) for c in found if c.row["started"] is not None]
        errors = [
            abs(said[c.name][name].weights_bytes / GIB / c.actual["weightsGiB"] - 1)
            for c in found
            if c.actual.get("weightsGiB")
        ]
        table[name] = {
            "right": sum(started is fits for started, fits in judged),
            "calledFittingButFailed": sum(not started and fits is True for started, fits in judged),
            "refusedButStarted": sum(started and fits is False for started, fits in judged),
            "noAnswer": sum(fits is None for _, fits in judged),
            "of": len(judged),
            "weightsMedianErrorPercent": round(100 * median(errors), 2),
            "weightsWorstErrorPercent": round(100 * max(errors), 2),
        }
    return table


def results() -> dict[str, Any]:
    """Everything results.json holds."""
    every = cases()
    held = [case for case in every if case.held_out]
    kept = [case for case in every if not case.held_out]
    published = [case for case in every if is_published(case)]
    failed = [case for case in every if case.row["started"] is False]
    return {
        "cases": len(every),
        "published": len(published),
        "failedStarts": len(failed),
        "failedStartsCalledFitting": sum(bool(ours(case).fits) for case in failed),
        "heldOut": {"weights": summary(held, weights_error), "kvTokens": summary(held, kv_error)},
        "heldOutPublished": {
            "weights": summary(filter(is_published, held), weights_error),
            "kvTokens": summary(filter(is_published, held), kv_error),
        },
        "calibration": {"weights": summary(kept, weights_error), "kvTokens": summary(kept, kv_error)},
        "starts": starts.results(),
        "sideBySide": verdicts(published),
        "sideBySideHeldOut": verdicts([case for case in published if case.held_out]),
        "heldOutCases": {
            case.name: {
                "weightsErrorPercent": _percent(weights_error(case)),
                "kvTokensErrorPercent": _percent(kv_error(case)),
            }
            for case in held
        },
    }


def _percent(error: float | None) -> float | None:
    return None if error is None else round(100 * error, 2)


def accuracy_table(found: dict[str, Any]) -> str:
    titles = {
        "heldOut": "Held out",
        "heldOutPublished": "Held out, published logs only",
        "calibration": "Not held out",
    }
    rows = (
        (title, *(_summarized(found[name][figure]) for figure in ("weights", "kvTokens")))
        for name, title in titles.items()
    )
    return table(("Cases", "Weights: median, worst", "KV-cache tokens: median, worst"), rows)


def _summarized(part: dict[str, Any]) -> str:
    return f"{part['medianPercent']} %, {part['worstPercent']} % ({part['cases']} cases)"


def verdict_table(found: dict[str, Any]) -> str:
    head = (
        *("Estimator", "Right about the start", "Of these held out", "Called fitting, failed"),
        *("Refused, started", "No answer", "Weights: median, worst error"),
    )
    rows = (
        (
            name,
            *(f"{one['right']} of {one['of']}" for one in (row, found["sideBySideHeldOut"][name])),
            *(row[key] for key in ("calledFittingButFailed", "refusedButStarted", "noAnswer")),
            f"{row['weightsMedianErrorPercent']} %, {row['weightsWorstErrorPercent']} %",
        )
        for name, row in found["sideBySide"].items()
    )
    return table(head, rows)


def case_table() -> str:
    """Every published case, side by side."""
    rows = (
        (_title(case), _actual(case), *(_cell(answer, case) for answer in answers(case).values()))
        for case in filter(is_published, cases())
    )
    return table(("Case", "Actual", "tacho", "hf-mem", "gpustack", "KAITO"), rows)


def _title(case: Case) -> str:
    row = case.row
    gpus = f"{row['gpus']} x " if row["gpus"] > 1 else ""
    mark = " *" if case.held_out else ""
    return f"[{row['model']}, {gpus}{row['gpu']}, vLLM {row['version']}]({row['source']}){mark}"


def _actual(case: Case) -> str:
    parts = [{True: "starts", False: "fails", None: "weights only"}[case.row["started"]]]
    if weights := case.actual.get("weightsGiB"):
        parts.append(f"{weights:.2f} GiB")
    if tokens := case.actual.get("kvTokens"):
        parts.append(f"{tokens:.0f} tokens")
    return ", ".join(parts)


def _cell(answer: Answer, case: Case) -> str:
    word = {True: "fits", False: "no", None: "?"}[answer.fits] if case.row["started"] is not None else ""
    weights = f"{answer.weights_bytes / GIB:.2f} GiB"
    return ", ".join(filter(None, (word, weights, answer.text)))


def page(text: str, found: dict[str, Any]) -> str:
    """``text`` with the tables between their markers written anew."""
    parts = {
        "accuracy": accuracy_table(found),
        "starts": starts.table(found["starts"]),
        "verdicts": verdict_table(found),
        "cases": case_table(),
    }
    return between_markers(text, "python -m benchmarks.planner.run", parts)


def main(arguments: Sequence[str]) -> int:
    found = results()
    texts = {
        RESULTS: json.dumps(found, indent=1, ensure_ascii=False) + "\n",
        PAGE: page(PAGE.read_text(encoding="utf-8"), found),
    }
    code = settle(texts, arguments)
    if "--check" in arguments:
        return code
    print(accuracy_table(found), starts.table(found["starts"]), verdict_table(found), sep="\n\n")
    print(f"\n{found['failedStarts']} failed starts, {found['failedStartsCalledFitting']} called fitting.")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
