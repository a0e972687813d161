"""Links of every page: relative files exist, and so do anchors; index and site have every page of docs/."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.unit.test_repo import ROOT, tracked

PAGES = tracked("*.md")
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"^( *)```.*?^\1```|`[^`\n]+`", re.M | re.S)


def anchors(page: Path) -> set[str]:
    """Anchors of headings, as GitHub and the site name them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    titles = re.findall(r"^#+ (.*)$", text, re.M)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).lower() for title in titles)
    return {re.sub(r"[^\w\- ]", "", title).strip().replace(" ", "-") for title in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_links_exists(page: Path) -> None:
    broken = []
    for link in LINK.findall(CODE.sub("", page.read_text())):
        if "://" in link or link.startswith("mailto:"):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_every_page_of_docs_is_reached_from_its_index() -> None:
    index, seen = ROOT / "docs/README.md", set[Path]()
    waiting = [index]
    while waiting:
        page = waiting.pop()
        page = page / "README.md" if page.is_dir() else page
        if page in seen or not page.is_file() or page.suffix != ".md" or ROOT / "docs" not in page.parents:
            continue
        seen.add(page)
        names = (link.partition("#")[0] for link in LINK.findall(page.read_text()) if "://" not in link)
        waiting += [(page.parent / name).resolve() for name in names if name]
    assert [str(page.relative_to(ROOT)) for page in tracked("docs/*.md") if page not in seen] == []


def test_the_site_has_a_place_for_every_page_of_docs() -> None:
    """Pages in a folder of one recorded run are reached from their result's page alone."""
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    placed = set(re.findall(r"[\w./-]+\.md", str(nav)))
    docs = {str(page.relative_to(ROOT)) for page in tracked("docs/*.md")}
    assert docs - placed == {page for page in docs if re.match(r"docs/results/\w+/[^/]+/", page)}
    assert [page for page in placed if not (ROOT / page).is_file()] == []
