"""Runs ``tacho doctor``: reads the cluster with kubectl, makes the checks, prints the findings."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from rich.text import Text

from tacho_cli.doctor import checks
from tacho_cli.doctor.findings import Facts, Finding, Objects, UnreadError
from tacho_cli.inputs.kubectl import KubectlTarget, kubectl, last_lines, parsed, refused
from tacho_cli.output import FindingFormat, console, grid, print_document
from tacho_cli.problems import CommandError, ExitCode
from tacho_contract.text import visible_document

OPERATOR_LABELS = "app.kubernetes.io/part-of=tacho,app.kubernetes.io/component=operator"
KINDS: dict[str, tuple[str, ...]] = {
    checks.LLMDEPLOYMENTS: (),
    checks.OPERATORS: ("--all-namespaces", "--selector", OPERATOR_LABELS),
    "nodes": (),
    "storageclasses": (),
    "persistentvolumeclaims": (),
    "resourcequotas": (),
    checks.MONITORS: ("--all-namespaces", "--selector", "app.kubernetes.io/part-of=tacho"),
}
"""Additional kubectl options by kind of object."""
NAMESPACED = (checks.LLMDEPLOYMENTS, "persistentvolumeclaims", "resourcequotas")
RIGHTS = (
    ("create", "llmdeployments.tacho.dev"),
    ("patch", "llmdeployments.tacho.dev"),
    ("list", "pods"),
    ("get", "pods/log"),
)
"""Rights that are checked, as (verb, resource or RESOURCE/SUBRESOURCE)."""
COLOURS = {"ok": "green", "warn": "yellow", "fail": "red", "unknown": "cyan"}
AT_ONCE = 4


def execute(target: KubectlTarget, output: FindingFormat) -> int:
    """Prints the findings; the exit code is NOT_MET where a check fails. Raises CommandError where no cluster
    answers."""
    done = kubectl(target, "version")
    if done.returncode:
        raise refused("the cluster does not answer:", done.stderr)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        objects = dict(zip(KINDS, pool.map(lambda kind: read(target, kind), KINDS), strict=True))
        allowed = pool.map(lambda right: may(target, *right), RIGHTS)
        rights = {f"{verb} {kind}": answer for (verb, kind), answer in zip(RIGHTS, allowed, strict=True)}
    facts = Facts(objects=objects, rights=rights)
    found = checks.diagnosis(facts)
    if output == "table":
        show(found)
    else:
        print_document({"findings": [finding.to_wire() for finding in found]}, output)
    return ExitCode.NOT_MET if any(finding.state == "fail" for finding in found) else ExitCode.OK


def read(target: KubectlTarget, kind: str) -> Objects | UnreadError | None:
    """The objects of a kind, or the missing right; None: the cluster does not have that kind."""
    everywhere = ("--all-namespaces",) if target.everywhere and kind in NAMESPACED else ()
    try:
        done = kubectl(target, "get", kind, *KINDS[kind], *everywhere)
    except CommandError as error:
        return UnreadError(str(error))
    if done.returncode == 0:
        return tuple(parsed(done.stdout or "{}").get("items") or ())
    if "doesn't have a resource type" in done.stderr:
        return None
    return UnreadError(" ".join(last_lines(done.stderr)))


def may(target: KubectlTarget, verb: str, kind: str) -> bool:
    """Whether the user has a right in the namespace, or in all namespaces."""
    everywhere = ("--all-namespaces",) if target.everywhere else ()
    resource, _, part = kind.partition("/")  # kubectl would take the part for a name
    options = (*((f"--subresource={part}",) if part else ()), *everywhere)
    return kubectl(target, "auth", "can-i", verb, resource, *options, output="").returncode == 0


def show(found: list[Finding]) -> None:
    """Prints the findings, one row each, with the next step below it."""
    rows = []
    for finding in visible_document([item.to_wire() for item in found]):
        text = Text(finding["message"])
        if finding.get("nextStep") and finding["state"] != "ok":
            text.append(f"\n-> {finding['nextStep']}")
        elif finding.get("nextStep"):
            text.append(f" {finding['nextStep']}")
        state = Text(finding["state"], style=COLOURS[finding["state"]])
        rows.append((finding["check"], state, text))
    console().print(grid(("CHECK", "STATE", "FINDING"), rows, wrap=("FINDING",)))
