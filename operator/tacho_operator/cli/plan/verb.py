"""``tacho plan``: what fits, which quantization, and why, before the weights are downloaded."""

from __future__ import annotations

from typing import Annotated

import typer

from tacho_operator.cli.output.formats import Format


def plan(
    file: Annotated[str, typer.Option("--file", "-f", help="Manifest with the LLMDeployment; - is stdin.")],
    pvc: Annotated[
        list[str] | None,
        typer.Option(metavar="CLAIM=DIR", help="A folder that stands in for a claim; may be given again."),
    ] = None,
    gpu: Annotated[
        str,
        typer.Option(
            metavar="PRODUCT[:COUNT]", help="Plan for this GPU from the catalog, whatever the manifest names."
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
    output: Annotated[Format, typer.Option("--output", "-o", help="How the plan is printed.")] = Format.table,
    name: Annotated[str, typer.Option(help="Which LLMDeployment, where the file holds several.")] = "",
) -> int:
    """Say what fits, which quantization and why, without downloading weights.

    Reads headers and configuration of the model only. Without --gpu, --nodes or a cluster it plans for the
    GPUs that the manifest names, from the catalog, else for this machine. Exit code: 0 it fits, 2 it does
    not, 1 bad input.
    """
    from tacho_operator.cli.plan.answer import Question, answer

    return answer(
        Question(
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
