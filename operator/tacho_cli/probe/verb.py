"""``tacho probe``: measures the capacity of a server."""

from __future__ import annotations

from typing import Annotated

import typer

from tacho_cli.output import FigureFormat
from tacho_cli.problems import refuse_given


def probe(
    target: Annotated[
        str,
        typer.Argument(
            metavar="URL|NAME", help="An OpenAI-compatible server (http://host:8000), or an LLMDeployment."
        ),
    ],
    workload: Annotated[
        str,
        typer.Option(metavar="INPUT:OUTPUT", help="URL: tokens of prompt and answer; 512:200 by default."),
    ] = "",
    slo: Annotated[
        str,
        typer.Option(
            metavar="ttft=500ms,tpot=50ms[,p=95]",
            help="URL: service level objective; the probe searches the capacity that meets it.",
        ),
    ] = "",
    budget: Annotated[str, typer.Option(metavar="TIME", help="URL: time limit; 45s by default.")] = "",
    model: Annotated[str, typer.Option(help="URL: model name, if the server has several.")] = "",
    concurrency: Annotated[
        int | None, typer.Option(min=1, max=4096, help="URL: maximum concurrent requests; 64 by default.")
    ] = None,
    levels: Annotated[
        str,
        typer.Option(metavar="N,N", help="URL: measure these numbers of streams instead of a search."),
    ] = "",
    api_key_env: Annotated[
        str, typer.Option(metavar="VARIABLE", help="URL: variable that holds the server's API key.")
    ] = "",
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", help="NAME: its namespace; the context's by default.")
    ] = "",
    context: Annotated[str, typer.Option(help="NAME: context of the kubeconfig.")] = "",
    kubeconfig: Annotated[str, typer.Option(metavar="FILE", help="NAME: kubeconfig file.")] = "",
    disrupt: Annotated[
        bool,
        typer.Option("--disrupt", help="NAME: measure a serving pod, which leaves the Service meanwhile."),
    ] = False,
    output: Annotated[
        FigureFormat, typer.Option("--output", "-o", help="Output format.")
    ] = FigureFormat.table,
) -> int:
    """Measure an OpenAI-compatible server, or re-probe an LLMDeployment.

    A server at a URL receives load from this machine until it is saturated. The operator measures a
    deployment in a probe pod. The output is one entry of status.measurements.

    Exit code: 0 measured, and the SLO is met if one was given; 1 SLO not met; 2 wrong usage; 3 not measured,
    or the SLO could not be judged; 4 the measurement is provisional.
    """
    if "://" in target:
        from tacho_cli.probe import measure

        refuse_given(
            "a deployment",
            {"-n": namespace, "--context": context, "--kubeconfig": kubeconfig, "--disrupt": disrupt},
        )
        return measure.execute(
            measure.ProbeOptions(
                url=target,
                workload=workload,
                slo=slo,
                budget=budget,
                model=model,
                concurrency=concurrency,
                levels=levels,
                api_key_env=api_key_env,
                output=output,
            )
        )
    refuse_given(
        "a URL; a deployment is measured as its spec says",
        {
            "--workload": workload,
            "--slo": slo,
            "--budget": budget,
            "--model": model,
            "--concurrency": concurrency,
            "--levels": levels,
            "--api-key-env": api_key_env,
        },
    )
    from tacho_cli.inputs.kubectl import KubectlTarget
    from tacho_cli.probe import reprobe

    return reprobe.execute(
        reprobe.ReprobeRequest(
            name=target,
            target=KubectlTarget(context=context, kubeconfig=kubeconfig, namespace=namespace),
            disrupt=disrupt,
            output=output,
        )
    )
