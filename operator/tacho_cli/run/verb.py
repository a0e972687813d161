"""``tacho run``: the plan, the runtime and the probe on this machine, without Kubernetes."""

from __future__ import annotations

from typing import Annotated

import typer

from tacho_cli.output import Format
from tacho_contract.pod import RUNTIME_PORT


def run(
    file: Annotated[str, typer.Option("--file", "-f", help="Manifest with the LLMDeployment; - is stdin.")],
    pvc: Annotated[
        list[str] | None,
        typer.Option(metavar="CLAIM=DIR", help="Local folder in place of a claim. Repeatable."),
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Print the status and exit. Without it, serve until Ctrl-C.")
    ] = False,
    output: Annotated[Format, typer.Option("--output", "-o", help="Output format.")] = Format.table,
    name: Annotated[str, typer.Option(help="Name of the LLMDeployment if the file holds several.")] = "",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the OpenAI API, 8000 by default.")
    ] = None,
    report_port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of /report, /load and /metrics.")
    ] = RUNTIME_PORT,
    log: Annotated[
        str, typer.Option(metavar="FILE", help="Append what the engine and the runtime print to this file.")
    ] = "",
) -> int:
    """Serve and measure a model on this machine, from the same manifest a cluster takes.

    Prints the measured status, then serves until Ctrl-C. Exit code: 0 served, 1 bad input, 2 it does not
    fit on this machine, 3 it failed.
    """
    from tacho_cli.run.serve import RunOptions, execute

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
