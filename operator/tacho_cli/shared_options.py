"""Options and arguments that several commands share: each has one form and one help text."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from tacho_cli.output import FigureFormat, FindingFormat, Format, PageFormat, TraceFormat
from tacho_cli.problems import CommandError


def _names(context: typer.Context) -> list[str]:
    """Names of LLMDeployments for shell completion; none where the cluster cannot be read."""
    from tacho_cli.inputs.kubectl import KubectlTarget, deployments

    target = KubectlTarget(
        context=context.params.get("context") or "",
        kubeconfig=context.params.get("kubeconfig") or "",
        namespace=context.params.get("namespace") or "",
    )
    try:
        return [raw["metadata"]["name"] for raw in deployments(target)]
    except CommandError:
        return []


_DNS_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


def dns_name(name: str) -> str:
    """``name``, if it is a valid object name or "". Else BadParameter: kubectl may take it for an option."""
    if name and not _DNS_NAME.fullmatch(name):
        raise typer.BadParameter(f"{name!r} is no name of an object: lower-case letters, digits, '-' and '.'")
    return name


Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="Name of the LLMDeployment.", autocompletion=_names, callback=dns_name
    ),
]
AnyName = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="Name of the LLMDeployment; all by default.",
        autocompletion=_names,
        callback=dns_name,
    ),
]
Namespace = Annotated[
    str,
    typer.Option(
        "--namespace",
        "-n",
        metavar="NAMESPACE",
        help="The namespace; the context's by default.",
        callback=dns_name,
    ),
]
AllNamespaces = Annotated[bool, typer.Option("--all-namespaces", "-A", help="All namespaces.")]
Context = Annotated[str, typer.Option(metavar="CONTEXT", help="Context of the kubeconfig.")]
Kubeconfig = Annotated[str, typer.Option(metavar="FILE", help="Kubeconfig file.")]
_OUTPUT = typer.Option("--output", "-o", help="Output format.")
Output = Annotated[Format, _OUTPUT]
FindingOutput = Annotated[FindingFormat, _OUTPUT]
FigureOutput = Annotated[FigureFormat, _OUTPUT]
PageOutput = Annotated[PageFormat, _OUTPUT]
TraceOutput = Annotated[TraceFormat, _OUTPUT]
