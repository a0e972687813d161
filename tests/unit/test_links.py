"""Links of every page: relative files exist, and so do anchors; index and site have every page of docs/.

Links with a host are read and not requested: whether they still answer is not tested, without a network.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from tests.unit.test_repo import ROOT, tracked

PAGES = tracked("*.md")
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"^( *)```.*?^\1```|`[^`\n]+`", re.M | re.S)


HOST = re.compile(r"(?!www\.)([a-z0-9-]+\.)+[a-z]{2,}")
PATH = re.compile(r"(/[\w.~!$&'()*+,;=:@%-]+)*/?", re.ASCII)
OWN = re.compile(r"/tacho(-operator)?(/|$)")


def external_links() -> dict[str, set[str]]:
    """Pages by the links with a host that they have."""
    found: dict[str, set[str]] = defaultdict(set)
    for page in PAGES:
        text = CODE.sub("", page.read_text())
        links = [*LINK.findall(text), *re.findall(r"<(\w+://[^>]*)>|href=\"([^\"]*)\"", text)]
        for link in ("".join(item) for item in links):
            if "://" in link:
                found[link].add(str(page.relative_to(ROOT)))
    return found


def complaint(link: str) -> str:
    """What is wrong with a link with a host; "" where nothing is."""
    parts = urlsplit(link)
    if parts.scheme != "https":
        return "not https"
    if not HOST.fullmatch(parts.netloc):
        return "a host in lower case, without www, user or port"
    if not PATH.fullmatch(parts.path) or "//" in parts.path or link.endswith(("?", "#", ".")):
        return "not well-formed"
    return "a file of this repository is linked by its path" if OWN.search(parts.path) else ""


def page_of(link: str) -> str:
    """Equal for all spellings of one page: an issue of GitHub may be linked as a pull request, too."""
    parts = urlsplit(link)
    path = re.sub(r"^(/[^/]+/[^/]+)/pull/(\d+)$", r"\1/issues/\2", parts.path.rstrip("/").lower())
    return f"{parts.netloc.lower().removeprefix('www.')}{path.removesuffix('.git')}?{parts.query}"


def test_links_with_a_host_are_well_formed() -> None:
    links = external_links()
    assert len(links) > 20
    assert {link: (why, links[link]) for link in links if (why := complaint(link))} == {}


def test_a_page_elsewhere_is_linked_in_one_spelling() -> None:
    spellings: dict[str, set[str]] = defaultdict(set)
    for link in external_links():
        spellings[page_of(link)].add(link.partition("#")[0])
    assert [sorted(found) for found in spellings.values() if len(found) > 1] == []


@pytest.mark.parametrize(
    "link",
    [
        "http://pypi.org/project/x/",
        "https://www.pypi.org/project/x",
        "https://user@pypi.org/x",
        "https://PyPI.org/x",
        "https://localhost/x",
        "https://pypi.org//x",
        "https://pypi.org/a b",
        "https://github.com/someone/tacho/blob/main/README.md",
    ],
)
def test_a_bad_link_with_a_host_is_seen(link: str) -> None:
    assert complaint(link)


def test_spellings_of_one_page_are_seen() -> None:
    assert page_of("https://github.com/a/b/pull/7") == page_of("https://GitHub.com/a/B/issues/7/#issue")
    assert page_of("https://pypi.org/project/x/") == page_of("https://pypi.org/project/x")
    assert page_of("https://pypi.org/project/x") != page_of("https://pypi.org/project/y")


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
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    placed = set(re.findall(r"[\w./-]+\.md", str(nav)))
    docs = {str(page.relative_to(ROOT)) for page in tracked("docs/*.md")}
    assert docs - placed == set()
    assert [page for page in placed if not (ROOT / page).is_file()] == []
