"""``tacho status``: status and measurements of a deployment."""

from __future__ import annotations

from typing import Annotated

import typer

from tacho_cli.output import FigureFormat


def status(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the LLMDeployment.")],
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", help="Its namespace; the context's by default.")
    ] = "",
    context: Annotated[str, typer.Option(help="Context of the kubeconfig.")] = "",
    kubeconfig: Annotated[str, typer.Option(metavar="FILE", help="Kubeconfig file.")] = "",
    plot: Annotated[bool, typer.Option("--plot", help="Plot latency over throughput.")] = False,
    output: Annotated[
        FigureFormat, typer.Option("--output", "-o", help="Output format.")
    ] = FigureFormat.table,
) -> int:
    """Show conditions, plan and measurements of an LLMDeployment.

    Reads the cluster with kubectl and your own rights. Exit code: 0 shown; 1 not readable.
    """
    from tacho_cli.inputs.kubectl import KubectlTarget, deployment

    resource = deployment(KubectlTarget(context=context, kubeconfig=kubeconfig, namespace=namespace), name)
    from tacho_cli.status.screen import show  # with the API's types

    show(resource, output, plotted=plot)
    return 0
