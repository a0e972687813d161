"""Commands that the pages show, and those of them that no test here runs."""

from __future__ import annotations

import re
from pathlib import Path

from tools.cluster.paths import REPOSITORY

README, WORD_FOR_WORD = REPOSITORY / "README.md", REPOSITORY / "docs/start/your-cluster.md"
"""tests/nightly/install runs both, up to a chat on a cluster with a node; of README.md, what has no
prompt."""
PAGES = [
    *(REPOSITORY / name for name in ("CONTRIBUTING.md", "charts/tacho/README.md")),
    *sorted({*REPOSITORY.glob("docs/**/*.md")} - {WORD_FOR_WORD}),
]
PROGRAM = re.compile(
    r"\$ |([A-Z_]+=\S+ )*(sudo )?(make|helm|kubectl|tacho|cosign|curl|etcdutl|\S*/tacho|\S*/python) "
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
NOT_RUN = {
    r"sudo \S+ -m tools\.images build": "builds images of gigabytes",
    r"cosign ": "wants a released image; tests/nightly/release signs and verifies one",
    r"helm install tacho oci://": "wants that release, too",
    r"\S*tacho (run|probe http)": "wants an engine and a model; tests/unit/cli runs both with others",
    r"kubectl port-forward service/qwen3-8b": "wants the Hub and a GPU; README's, alike, has a model without",
}
"""Patterns of commands, and why they are not run."""
ON_A_NODE = (
    r"helm test ",
    r"kubectl logs ",
    r"kubectl rollout status ",
    r"kubectl port-forward ",
    r"curl -s localhost",
)
"""Patterns of commands that need a pod: tests/e2e/test_pages_on_a_node.py runs them."""
RUN_ELSEWHERE = re.compile("|".join((r"tacho simulate ", r"etcdutl ", *ON_A_NODE)))
"""tests/unit/cli/simulate/test_docs.py compares what simulations print, too. An etcd that stands still is in
tests/api/test_operator_interrupted.py."""
SYNOPSIS = re.compile(r" \[[-\w]")
"""Of a list of options, which tests/unit/cli/test_docs.py holds to the command."""


def commands(page: Path) -> list[str]:
    """The commands of a page in their order, with continued lines joined and without comments."""
    found = []
    for language, block in FENCE.findall(page.read_text()):
        if language:
            continue
        lines = block.replace("\\\n", "").splitlines()
        prompted = any(line.startswith("$ ") for line in lines)
        if not prompted and not PROGRAM.match(lines[0]):
            continue
        shown = (line for line in lines if line.startswith("$ ") or not prompted)
        found += [re.sub(r"\s+# .*$", "", line.removeprefix("$ ")) for line in shown]
    return [command for command in found if not SYNOPSIS.search(command) and not command.startswith(" ")]


def prompted(page: Path) -> list[str]:
    """The commands of a page that stand behind a prompt."""
    text = page.read_text().replace("\\\n", "")
    return [command for command in commands(page) if f"$ {command}" in text]


def excused(command: str) -> str:
    """Why the command is not run; "" where it is."""
    return next((why for pattern, why in NOT_RUN.items() if re.match(pattern, command)), "")


def to_run(page: Path) -> list[str]:
    shown = prompted(page) if page == README else commands(page)
    return [command for command in shown if not excused(command) and not RUN_ELSEWHERE.match(command)]
