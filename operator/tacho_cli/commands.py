"""The commands plan, run, probe and simulate, with their options. A command's code is imported when it is
called."""

from __future__ import annotations

from typing import Annotated

import typer

from tacho_cli.shared_options import (
    Context,
    FigureOutput,
    Kubeconfig,
    Namespace,
    Output,
    TraceOutput,
)
from tacho_contract.pod import RUNTIME_PORT

File = Annotated[
    str, typer.Option("--file", "-f", metavar="FILE", help="Manifest with the LLMDeployment; - is stdin.")
]
Name = Annotated[
    str, typer.Option(metavar="NAME", help="Name of the LLMDeployment if the file holds several.")
]
Claims = Annotated[
    list[str] | None,
    typer.Option(metavar="CLAIM=DIR", help="Local folder in place of a claim. Repeatable."),
]
Texts = list[str] | None
"""Values of an option that may be repeated; None: it was not given."""


def plan(
    file: File,
    pvc: Claims = None,
    gpu: Annotated[
        str,
        typer.Option(
            metavar="PRODUCT[:COUNT]", help="Plan for this GPU of the catalog instead of the manifest's."
        ),
    ] = "",
    nodes: Annotated[
        str, typer.Option(metavar="FILE", help="Plan for the nodes saved by: kubectl get nodes -o json")
    ] = "",
    namespace: Namespace = "",
    context: Context = "",
    kubeconfig: Kubeconfig = "",
    output: Output = "table",
    name: Name = "",
) -> int:
    """Plan an LLMDeployment: what fits, which quantization and why, without downloading weights.

    Reads only the headers and the configuration of the model. With -n, --context or --kubeconfig it plans
    for that cluster, and learns from what the namespace has measured. Without these, --gpu or --nodes it
    plans for the manifest's GPUs from the catalog, else for this machine.
    """
    from tacho_cli.inputs.kubectl import KubectlTarget
    from tacho_cli.plan.answer import answer

    cluster = KubectlTarget(context=context, kubeconfig=kubeconfig, namespace=namespace)
    return answer(file, name, pvc or (), gpu=gpu, nodes_file=nodes, cluster=cluster, output=output)


def run(
    file: File,
    pvc: Claims = None,
    once: Annotated[
        bool, typer.Option("--once", help="Print the status and exit. Without it, serve until Ctrl-C.")
    ] = False,
    output: Output = "table",
    name: Name = "",
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(metavar="PORT", min=1, max=65535, help="Port of the OpenAI API, 8000 by default."),
    ] = None,
    report_port: Annotated[
        int, typer.Option(metavar="PORT", min=1, max=65535, help="Port of /report, /load and /metrics.")
    ] = RUNTIME_PORT,
    log: Annotated[
        str, typer.Option(metavar="FILE", help="Append what the engine and the runtime print to this file.")
    ] = "",
) -> int:
    """Serve and measure a model on this machine, from the same manifest a cluster takes.

    Prints the measured status, then serves until Ctrl-C.
    """
    from tacho_cli.run.serve import execute
    from tacho_cli.run.setup import RunOptions

    return execute(
        RunOptions(
            file=file,
            name=name,
            claims=tuple(pvc or ()),
            once=once,
            output=output,
            host=host,
            port=port,
            report_port=report_port,
            log=log,
        )
    )


def probe(
    url: Annotated[
        str, typer.Argument(metavar="URL", help="An OpenAI-compatible server, such as http://host:8000.")
    ],
    workload: Annotated[
        str,
        typer.Option(metavar="INPUT:OUTPUT", help="Tokens of prompt and answer; 512:200 by default."),
    ] = "",
    slo: Annotated[
        str,
        typer.Option(
            metavar="ttft=500ms,tpot=50ms[,p=95]",
            help="Service level objective; the probe searches the capacity that meets it.",
        ),
    ] = "",
    budget: Annotated[str, typer.Option(metavar="TIME", help="Time limit; 45s by default.")] = "",
    model: Annotated[str, typer.Option(metavar="NAME", help="Model name, if the server has several.")] = "",
    concurrency: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, max=4096, help="Maximum concurrent requests; 64 by default."),
    ] = None,
    levels: Annotated[
        str,
        typer.Option(metavar="N,N", help="Measure these numbers of streams instead of a search."),
    ] = "",
    api_key_env: Annotated[
        str, typer.Option(metavar="VARIABLE", help="Variable that holds the server's API key.")
    ] = "",
    output: FigureOutput = "table",
) -> int:
    """Measure an OpenAI-compatible server.

    It receives load from this machine until it is saturated. The output is one entry of status.measurements.
    """
    from tacho_cli.inputs.options import given_levels, live_config
    from tacho_cli.probe import execute

    return execute(
        url,
        live=live_config(workload, slo, budget),
        model=model,
        concurrency=concurrency,
        levels=given_levels(levels),
        api_key_env=api_key_env,
        output=output,
    )


def simulate(
    trace: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="Requests as CSV or gzipped CSV: time_s,input_tokens,output_tokens, or Azure's columns.",
        ),
    ],
    file: Annotated[
        Texts,
        typer.Option(
            "--file",
            "-f",
            metavar="FILE",
            help="LLMDeployment with its status (kubectl get -o yaml). Repeat to compare several.",
        ),
    ] = None,
    name: Name = "",
    measurement: Annotated[
        Texts,
        typer.Option(
            metavar="FILE",
            help="Measurement of one replica (tacho probe -o json). Repeat to compare several.",
        ),
    ] = None,
    what_if: Annotated[
        Texts,
        typer.Option(
            metavar="KEY=V1,V2",
            help="Compare settings: minReplicas, maxReplicas, slo.ttft, slo.tpot, quantization (as "
            "measured). Repeatable.",
        ),
    ] = None,
    policy: Annotated[
        Texts,
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
            help="Trace to tune on: policies without parameters get the cheapest with 99 % SLO attainment.",
        ),
    ] = "",
    slo: Annotated[str, typer.Option(metavar="ttft=500ms,tpot=50ms", help="Service level objective.")] = "",
    min_replicas: Annotated[
        int | None, typer.Option("--min-replicas", metavar="N", min=1, max=1000, help="Minimum replicas.")
    ] = None,
    max_replicas: Annotated[
        int | None, typer.Option("--max-replicas", metavar="N", min=1, max=1000, help="Maximum replicas.")
    ] = None,
    cold_start: Annotated[
        str,
        typer.Option(
            metavar="SECONDS",
            help="Seconds from pod creation to readiness. Of several (comma-separated) each pod draws one.",
        ),
    ] = "",
    fault: Annotated[
        Texts,
        typer.Option(
            metavar="KIND",
            help="Injected fault: crash@600, hang@600, metrics@600-900, scaler@600-900, slow=1.5. "
            "Repeatable.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the random numbers.")] = 0,
    price_per_gpu_hour: Annotated[
        float | None,
        typer.Option(metavar="PRICE", min=0, max=1_000_000, help="Also print the cost of the GPU-hours."),
    ] = None,
    decisions: Annotated[
        bool,
        typer.Option("--decisions", help="Table and CSV: also list every replica change with its reason."),
    ] = False,
    output: TraceOutput = "table",
) -> int:
    """Replay a trace of requests against scaling policies.

    Replicas are simulated from a measurement: batches, prompts, KV cache, queues, cold starts. The tacho
    policy is the operator's own code. The same seed gives the same results.
    """
    from tacho_cli.simulate.execute import SimulationOptions, execute
    from tacho_cli.simulate.simulated_deployment import DeploymentOptions, parse_starts

    return execute(
        SimulationOptions(
            trace=trace,
            given=DeploymentOptions(
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
