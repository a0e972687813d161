"""``tacho simulate``: what a way of scaling would have done with a trace of requests."""

from __future__ import annotations

from typing import Annotated

import typer

from tacho_operator.cli.output.formats import TraceFormat


def simulate(
    trace: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="Requests: a CSV, or a gzipped one, with time_s,input_tokens,output_tokens, or as Azure's.",
        ),
    ],
    file: Annotated[
        list[str] | None,
        typer.Option(
            "--file",
            "-f",
            help="Manifest of an LLMDeployment, with its status as kubectl get -o yaml has it. Several are "
            "compared.",
        ),
    ] = None,
    name: Annotated[str, typer.Option(help="Which LLMDeployment, where the file holds several.")] = "",
    measurement: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="What one replica does: the entry that tacho probe -o json prints. Several are compared.",
        ),
    ] = None,
    what_if: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=V1,V2",
            help="Compare other settings: minReplicas, maxReplicas, slo.ttft, slo.tpot, and quantization, "
            "from what the files have measured. May be given again.",
        ),
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Ways of scaling, with commas, or all; static-N is N replicas. May be given again.",
        ),
    ] = None,
    slo: Annotated[
        str, typer.Option(metavar="ttft=500ms,tpot=50ms", help="What requests are promised.")
    ] = "",
    min_replicas: Annotated[
        int | None, typer.Option("--min-replicas", min=1, max=1000, help="Fewest replicas.")
    ] = None,
    max_replicas: Annotated[
        int | None, typer.Option("--max-replicas", min=1, max=1000, help="Most replicas.")
    ] = None,
    cold_start: Annotated[
        str,
        typer.Option(
            metavar="SECONDS",
            help="From a pod's creation to its readiness. Several with commas: each start draws one.",
        ),
    ] = "",
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND",
            help="What goes wrong: crash@600, hang@600, metrics@600-900, scaler@600-900, slow=1.5. May be "
            "given again.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of all that is left to chance.")] = 0,
    price_per_gpu_hour: Annotated[
        float | None,
        typer.Option(min=0, max=1_000_000, help="Tells GPU-hours as money, too."),
    ] = None,
    decisions: Annotated[
        bool,
        typer.Option("--decisions", help="Table and CSV: every change of the replicas, with its reason."),
    ] = False,
    output: Annotated[
        TraceFormat, typer.Option("--output", "-o", help="How the runs are printed.")
    ] = TraceFormat.table,
) -> int:
    """Say what ways of scaling would have done with a trace of requests.

    Replicas are simulated by what was measured of one: batches, prompts, KV cache, queues, starts. The
    operator's decisions are its own code, driven through the trace. The same seed gives the same figures.
    Exit code: 0 simulated, 1 bad input.
    """
    from tacho_operator.cli.simulate.execute import Order, execute
    from tacho_operator.cli.simulate.starts import said
    from tacho_operator.cli.simulate.subject import Given

    return execute(
        Order(
            trace=trace,
            given=Given(
                name=name,
                slo=slo,
                least=min_replicas,
                most=max_replicas,
                cold_start_seconds=said(cold_start) if cold_start else (),
                price_per_gpu_hour=price_per_gpu_hour,
            ),
            policies=tuple(policy or ()),
            seed=seed,
            output=output,
            files=tuple(file or ()),
            measurements=tuple(measurement or ()),
            what_if=tuple(what_if or ()),
            faults=tuple(fault or ()),
            decided=decisions,
        )
    )
