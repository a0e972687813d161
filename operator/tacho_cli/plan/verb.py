"""``tacho plan``: what fits, which quantization, and why, before the weights are downloaded."""

from __future__ import annotations

from typing import Annotated

import typer

from tacho_cli.output import Format


def plan(
    file: Annotated[str, typer.Option("--file", "-f", help="Manifest with the LLMDeployment; - is stdin.")],
    pvc: Annotated[
        list[str] | None,
        typer.Option(metavar="CLAIM=DIR", help="Local folder in place of a claim. Repeatable."),
    ] = None,
    gpu: Annotated[
        str,
        typer.Option(
            metavar="PRODUCT[:COUNT]", help="Plan for this GPU of the catalog instead of the manifest's."
        ),
    ] = "",
    nodes: Annotated[
        str, typer.Option(metavar="FILE", help="Plan for the nodes saved by: kubectl get nodes -o json")
    ] = "",
    context: Annotated[str, typer.Option(help="Plan against this context's cluster.")] = "",
    kubeconfig: Annotated[
        str, typer.Option(metavar="FILE", help="Plan against this kubeconfig's cluster.")
    ] = "",
    namespace: Annotated[
        str,
        typer.Option(
            "--namespace",
            "-n",
            help="Plan against the current cluster, learning from what this namespace has measured.",
        ),
    ] = "",
    output: Annotated[Format, typer.Option("--output", "-o", help="Output format.")] = Format.table,
    name: Annotated[str, typer.Option(help="Name of the LLMDeployment if the file holds several.")] = "",
) -> int:
    """Plan an LLMDeployment: what fits, which quantization and why, without downloading weights.

    Reads only the headers and the configuration of the model. Without --gpu, --nodes or a cluster it plans
    for the manifest's GPUs from the catalog, else for this machine. Exit code: 0 fits, 2 does not fit, 1 bad
    input.
    """
    from tacho_cli.plan.answer import PlanOptions, answer

    return answer(
        PlanOptions(
            file=file,
            name=name,
            claims=tuple(pvc or ()),
            gpu=gpu,
            nodes_file=nodes,
            context=context,
            kubeconfig=kubeconfig,
            namespace=namespace,
            output=output,
        )
    )
