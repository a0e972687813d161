"""The commands that read a cluster: status, logs, report, doctor. A command's code is imported when it is
called."""

from __future__ import annotations

from typing import Annotated

import typer

from tacho_cli.problems import CommandError
from tacho_cli.shared_options import (
    AllNamespaces,
    AnyName,
    Context,
    FindingOutput,
    Kubeconfig,
    Name,
    Namespace,
    Output,
    PageOutput,
)


def status(
    name: AnyName = "",
    namespace: Namespace = "",
    all_namespaces: AllNamespaces = False,
    context: Context = "",
    kubeconfig: Kubeconfig = "",
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="NAME: print a line for each step until it is ready.")
    ] = False,
    plot: Annotated[bool, typer.Option("--plot", help="NAME: plot latency over throughput.")] = False,
    output: Output = "table",
) -> int:
    """Show LLMDeployments: all as rows, or one with its conditions, plan and measurements.

    Reads the cluster with kubectl and your own rights.
    """
    from tacho_cli.inputs.kubectl import KubectlTarget, deployment, deployments

    _refuse(bool(name) and all_namespaces, "NAME and -A exclude each other")
    _refuse(plot and not name, "--plot needs a NAME")
    _refuse(watch and not name, "--watch needs a NAME; kubectl get llmd --watch shows all")
    _refuse(watch and output != "table", "--watch prints lines only: use -o table")
    target = KubectlTarget(
        context=context, kubeconfig=kubeconfig, namespace=namespace, everywhere=all_namespaces
    )
    if watch:
        from tacho_cli.status.watch import until_ready

        return until_ready(target, name)
    resources = [deployment(target, name)] if name else deployments(target)
    if not resources and output in ("table", "wide"):
        from tacho_cli.output import say

        say(f"no LLMDeployments in {'any' if all_namespaces else namespace or 'this'} namespace")
        return 0
    from tacho_cli.status.screen import show  # with the API's types

    show(resources, output, one=bool(name), plotted=plot, everywhere=all_namespaces)
    return 0


def logs(
    name: Name,
    namespace: Namespace = "",
    context: Context = "",
    kubeconfig: Kubeconfig = "",
    tail: Annotated[int, typer.Option(metavar="N", min=1, max=10000, help="Lines of each pod.")] = 50,
    output: Output = "table",
) -> int:
    """Show the last lines of the pods that are not ready, else of the newest, with the class of each failure.

    Reads with kubectl and your own rights. -o name prints the pods, without their lines.
    """
    from tacho_cli.inputs.kubectl import KubectlTarget
    from tacho_cli.logs import execute

    target = KubectlTarget(context=context, kubeconfig=kubeconfig, namespace=namespace)
    return execute(target, name, tail=tail, output=output)


def report(
    name: AnyName = "",
    namespace: Namespace = "",
    all_namespaces: AllNamespaces = False,
    context: Context = "",
    kubeconfig: Kubeconfig = "",
    output: PageOutput = "html",
) -> int:
    """Write a page on one LLMDeployment, or on the fleet, that needs neither network nor scripts.

    Reads with kubectl and your own rights.
    """
    del output  # there is one
    _refuse(bool(name) and all_namespaces, "NAME and -A exclude each other")
    from tacho_cli.inputs.kubectl import KubectlTarget, deployment, deployments
    from tacho_cli.output import write_page

    target = KubectlTarget(
        context=context, kubeconfig=kubeconfig, namespace=namespace, everywhere=all_namespaces
    )
    resources = [deployment(target, name)] if name else deployments(target)
    from tacho_cli.report.page import deployment_page, fleet_page  # with the templates' library

    scope = "all namespaces" if all_namespaces else namespace or "the context's namespace"
    write_page(deployment_page(resources[0]) if name else fleet_page(resources, scope))
    return 0


def doctor(
    namespace: Namespace = "",
    all_namespaces: AllNamespaces = False,
    context: Context = "",
    kubeconfig: Kubeconfig = "",
    output: FindingOutput = "table",
) -> int:
    """Check a cluster: operator, nodes, GPUs, drivers, MIG, storage, claims, quotas, Prometheus, rights.

    Reads with kubectl and your own rights; a check that lacks one says which.
    """
    from tacho_cli.doctor.read import execute
    from tacho_cli.inputs.kubectl import KubectlTarget

    target = KubectlTarget(
        context=context, kubeconfig=kubeconfig, namespace=namespace, everywhere=all_namespaces
    )
    return execute(target, output)


def _refuse(wrong: bool, why: str) -> None:
    """Raises CommandError for options that have no meaning together."""
    if wrong:
        raise CommandError(why)
