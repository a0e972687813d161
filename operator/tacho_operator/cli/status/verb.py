"""``tacho status``: what a deployment's operator says of it, as figures and as a picture."""

from __future__ import annotations

from typing import Annotated

import typer

from tacho_operator.cli.output.formats import FigureFormat


def status(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the LLMDeployment.")],
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", help="Its namespace; the context's by default.")
    ] = "",
    context: Annotated[str, typer.Option(help="Ask this context's cluster.")] = "",
    kubeconfig: Annotated[str, typer.Option(metavar="FILE", help="Ask this kubeconfig's cluster.")] = "",
    plot: Annotated[bool, typer.Option("--plot", help="Draw the latency over the throughput.")] = False,
    output: Annotated[
        FigureFormat, typer.Option("--output", "-o", help="How the status is printed.")
    ] = FigureFormat.table,
) -> int:
    """Show conditions, plan and measured figures of an LLMDeployment.

    Asks the cluster by kubectl, with your own rights. Exit code: 0 shown, whatever it says; 1 it could not be
    read.
    """
    from tacho_operator.cli.inputs.kubectl import Target, deployment
    from tacho_operator.cli.status.show import show

    target = Target(context=context, kubeconfig=kubeconfig, namespace=namespace)
    show(deployment(target, name), output, plotted=plot)
    return 0
