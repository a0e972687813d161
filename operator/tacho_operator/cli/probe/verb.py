"""``tacho probe``: what a server carries, measured."""

from __future__ import annotations

from typing import Annotated

import typer

from tacho_operator.cli.output.formats import FigureFormat
from tacho_operator.cli.output.problems import refuse_given


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
            help="URL: what requests are promised; what is carried under it is looked for.",
        ),
    ] = "",
    budget: Annotated[
        str, typer.Option(metavar="TIME", help="URL: how long it may take; 45s by default.")
    ] = "",
    model: Annotated[str, typer.Option(help="URL: which model, where the server has several.")] = "",
    concurrency: Annotated[
        int | None, typer.Option(min=1, max=4096, help="URL: the most requests at a time; 64 by default.")
    ] = None,
    api_key_env: Annotated[
        str, typer.Option(metavar="VARIABLE", help="URL: variable that holds the server's API key.")
    ] = "",
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", help="NAME: its namespace; the context's by default.")
    ] = "",
    context: Annotated[str, typer.Option(help="NAME: in this context's cluster.")] = "",
    kubeconfig: Annotated[str, typer.Option(metavar="FILE", help="NAME: in this kubeconfig's cluster.")] = "",
    disrupt: Annotated[
        bool, typer.Option("--disrupt", help="NAME: measure a serving pod, which takes it out of service.")
    ] = False,
    output: Annotated[
        FigureFormat, typer.Option("--output", "-o", help="How the measurement is printed.")
    ] = FigureFormat.table,
) -> int:
    """Measure an OpenAI-compatible server, or an LLMDeployment again.

    A server behind a URL is sent load from here, until it is full. A deployment is measured by its operator,
    in a throwaway pod beside those that serve. Prints one entry as status.measurements has it.

    Exit code: 0 measured, and the SLO is met where one was asked for; 1 the SLO is not met; 2 wrong usage; 3
    not measured, or the SLO could not be judged; 4 something other than the server moved the figures: they
    are provisional and decide nothing.
    """
    if "://" in target:
        from tacho_operator.cli.probe import measure

        refuse_given(
            "a deployment",
            {"-n": namespace, "--context": context, "--kubeconfig": kubeconfig, "--disrupt": disrupt},
        )
        return measure.execute(
            measure.Order(
                url=target,
                workload=workload,
                slo=slo,
                budget=budget,
                model=model,
                concurrency=concurrency,
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
            "--api-key-env": api_key_env,
        },
    )
    from tacho_operator.cli.inputs.kubectl import Target
    from tacho_operator.cli.probe import again

    return again.execute(
        again.Order(
            name=target,
            target=Target(context=context, kubeconfig=kubeconfig, namespace=namespace),
            disrupt=disrupt,
            output=output,
        )
    )
