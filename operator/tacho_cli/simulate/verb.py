"""``tacho simulate``: replays a trace of requests against scaling policies."""

from __future__ import annotations

from typing import Annotated

import typer

from tacho_cli.output import TraceFormat


def simulate(
    trace: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="Requests as CSV or gzipped CSV: time_s,input_tokens,output_tokens, or Azure's columns.",
        ),
    ],
    file: Annotated[
        list[str] | None,
        typer.Option(
            "--file",
            "-f",
            help="LLMDeployment with its status (kubectl get -o yaml). Repeat to compare several.",
        ),
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the LLMDeployment if the file holds several.")] = "",
    measurement: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="Measurement of one replica (tacho probe -o json). Repeat to compare several.",
        ),
    ] = None,
    what_if: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=V1,V2",
            help="Compare settings: minReplicas, maxReplicas, slo.ttft, slo.tpot, quantization (as "
            "measured). Repeatable.",
        ),
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[:PARAMETER=VALUE]",
            help="Scaling policies separated by commas, or all; static-N: N replicas; with parameters: "
            "hpa-concurrency:target=12. Repeatable.",
        ),
    ] = None,
    tune: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="Trace on which each policy without parameters gets the cheapest with 99 % SLO attainment.",
        ),
    ] = "",
    slo: Annotated[str, typer.Option(metavar="ttft=500ms,tpot=50ms", help="Service level objective.")] = "",
    min_replicas: Annotated[
        int | None, typer.Option("--min-replicas", min=1, max=1000, help="Minimum replicas.")
    ] = None,
    max_replicas: Annotated[
        int | None, typer.Option("--max-replicas", min=1, max=1000, help="Maximum replicas.")
    ] = None,
    cold_start: Annotated[
        str,
        typer.Option(
            metavar="SECONDS",
            help="Seconds from pod creation to readiness. Of several (comma-separated) each pod draws one.",
        ),
    ] = "",
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND",
            help="Injected fault: crash@600, hang@600, metrics@600-900, scaler@600-900, slow=1.5. "
            "Repeatable.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the random numbers.")] = 0,
    price_per_gpu_hour: Annotated[
        float | None,
        typer.Option(min=0, max=1_000_000, help="Also print the cost of the GPU-hours."),
    ] = None,
    decisions: Annotated[
        bool,
        typer.Option("--decisions", help="Table and CSV: also list every replica change with its reason."),
    ] = False,
    output: Annotated[TraceFormat, typer.Option("--output", "-o", help="Output format.")] = TraceFormat.table,
) -> int:
    """Replay a trace of requests against scaling policies.

    Replicas are simulated from a measurement: batches, prompts, KV cache, queues, cold starts. The tacho
    policy is the operator's own code. The same seed gives the same results.
    Exit code: 0 simulated, 1 bad input.
    """
    from tacho_cli.simulate.execute import SimulationOptions, execute
    from tacho_cli.simulate.starts import parse_starts
    from tacho_cli.simulate.subject import SubjectOptions

    return execute(
        SimulationOptions(
            trace=trace,
            given=SubjectOptions(
                name=name,
                slo=slo,
                min_replicas=min_replicas,
                max_replicas=max_replicas,
                cold_start_seconds=parse_starts(cold_start) if cold_start else (),
                price_per_gpu_hour=price_per_gpu_hour,
            ),
            policies=tuple(policy or ()),
            seed=seed,
            output=output,
            files=tuple(file or ()),
            measurements=tuple(measurement or ()),
            what_if=tuple(what_if or ()),
            faults=tuple(fault or ()),
            tune=tune,
            decided=decisions,
        )
    )
