"""Runs ``tacho simulate``: each policy on the trace, then prints the report."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tacho_cli.output import TraceFormat, say
from tacho_cli.problems import CommandError, ExitCode
from tacho_cli.simulate.faults import faults, missed, within
from tacho_cli.simulate.measurements import measured
from tacho_cli.simulate.report import PolicyRun, SimulationReport
from tacho_cli.simulate.show import show
from tacho_cli.simulate.simulated_deployment import (
    DeploymentOptions,
    SimulatedDeployment,
    simulated_deployment,
)
from tacho_cli.simulate.variants import Variant, named_twice, variants, varies_quantization
from tacho_contract.units import counted
from tacho_simulate.policies import POLICIES, PolicyError, policy_of
from tacho_simulate.policy import Factory, Setting
from tacho_simulate.result import Result
from tacho_simulate.run import Faults, simulate
from tacho_simulate.trace import Trace, TraceError, read_trace
from tacho_simulate.tuning import TRIED, tuned

DEFAULT = ("tacho", "greedy")
"""The operator's policy and the greedy reference. With varied settings only the first runs."""
ALL = "all"


MAX_RUNS = 200
"""Maximum runs of one report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationOptions:
    """The options of ``tacho simulate``."""

    trace: str
    given: DeploymentOptions
    policies: tuple[str, ...]
    seed: int
    output: TraceFormat
    files: tuple[str, ...] = ()
    measurements: tuple[str, ...] = ()
    what_if: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    tune: str = ""
    decided: bool = False


def execute(order: SimulationOptions) -> int:
    """Runs the simulations and prints the report; returns the exit code."""
    requested_faults = faults(order.faults)
    named = (order.files, order.measurements)
    found = measured(*named, order.given.name) if varies_quantization(order.what_if) else ()
    varied = variants(order.given, *named, order.what_if, found)
    named_policies = [name.strip() for text in order.policies for name in text.split(",")]
    if twice := named_twice(named_policies):
        raise CommandError(f"--policy {twice}: named twice")
    names = named_policies or (DEFAULT[:1] if varied[1:] else DEFAULT)
    trace = _trace(order.trace)
    training = _trace(order.tune) if order.tune else None
    within(order.faults, trace)
    deployments = [(variant, simulated_deployment(variant.given)) for variant in varied]
    planned = [
        (variant, about, own)
        for variant, about in deployments
        for own in {own.name: own for own in _planned_runs(names, about, training, order.seed)}.values()
    ]
    if len(planned) > MAX_RUNS:
        raise CommandError(f"the options make {len(planned)} runs; the limit is {MAX_RUNS}")
    alone = len({own.name for _, _, own in planned}) == 1
    remarks = dict.fromkeys(remark for _, about in deployments for remark in about.remarks)
    if trace.failed:
        remarks[f"{trace.name}: {counted(trace.failed, 'request')} failed when recorded, and left out"] = None
    for remark in remarks:
        say(remark)
    runs = []
    for variant, about, own in planned:
        name = ", ".join(part for part in ("" if alone and variant.name else own.name, variant.name) if part)
        say(f"{name}: {counted(len(trace), 'request')}")
        wrong = dataclasses.replace(requested_faults, cold_start_seconds=about.starts_seconds)
        result = simulate(trace, own.setting, own.factory, seed=order.seed, faults=wrong)
        result = dataclasses.replace(result, policy=own.name)
        runs.append(_policy_run(name, variant, about, result, order.faults))
        for remark in missed(result):
            line = f"{name}: {remark}"
            say(line)
            remarks[line] = None
    currencies = {about.currency for _, about in deployments if about.price_per_gpu_hour is not None}
    if len(currencies) > 1:
        raise CommandError(f"prices in {' and '.join(sorted(currencies))} cannot be compared")
    report = SimulationReport(
        title=f"tacho simulate: {trace.name}",
        trace=trace,
        runs=tuple(runs),
        currency=next(iter(currencies), ""),
        remarks=tuple(remarks),
    )
    show(report, order.output, decided=order.decided)
    return ExitCode.OK


def _policy_run(
    name: str, variant: Variant, about: SimulatedDeployment, result: Result, wrong: tuple[str, ...]
) -> PolicyRun:
    return PolicyRun(
        name=name,
        result=result,
        slo=about.slo,
        variant=variant.values,
        settings={**about.settings, "faults": list(wrong), "seed": result.seed},
        gpus_per_replica=about.gpus_per_replica,
        price_per_gpu_hour=about.price_per_gpu_hour,
    )


def _trace(file: str) -> Trace:
    try:
        return read_trace(file)
    except TraceError as error:
        raise CommandError(str(error)) from None


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """One run to simulate: a scaling policy and its settings."""

    name: str
    factory: Factory
    setting: Setting


def _planned_runs(
    names: Iterable[str], about: SimulatedDeployment, training: Trace | None, seed: int
) -> Iterator[PlannedRun]:
    """The runs of the named policies. Parameters that are not given are chosen on the trace ``training``.
    Raises CommandError for an unknown policy or parameter."""
    known: dict[str, Factory] = {**POLICIES, "tacho": about.tacho}
    for name in names:
        for each in known if name == ALL else (name,):
            text = _tuned(each, about, training, seed) if training and each in TRIED else each
            try:
                yield PlannedRun(text, *policy_of(text, about.setting, known))
            except PolicyError as error:
                one_of = f"  -> policies: {', '.join(known)}, static-N, all"
                raise CommandError(f"--policy {each}: {error}", one_of) from None


def _tuned(name: str, about: SimulatedDeployment, training: Trace, seed: int) -> str:
    faults = Faults(cold_start_seconds=about.starts_seconds)
    text, results = tuned(name, training, about.setting, seed=seed, faults=faults)
    say(f"{name}: {text} is the best of {len(results)} on {training.name}")
    return text
