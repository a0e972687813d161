"""Gathers the pages that README.md reaches, for `make site`.

Pages keep their places, so that their links hold. A linked folder without a README.md gets one that lists it.
What lies in benchmarks/ is for people with a clone: the site names it by its path.

python -m tools.site
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "build/site/pages"
STARTS = (ROOT / "README.md", ROOT / "docs/site.css")
LINK = re.compile(r"(!?\[[^\]]*\]\()([^)\s#]+)((?:#[^)\s]*)?\))")
PICTURE = re.compile(r'\b(?:src|srcset)="([^"]+)"')
OUTSIDE = ROOT / "benchmarks"
FENCE = re.compile(r"^( *)```.*?^\1```", re.M | re.S)


def gather(into: Path) -> list[Path]:
    """Writes what STARTS link, transitively, below ``into``; returns the files."""
    waiting, found = [*STARTS], list[Path]()
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.append(path)
        target = into / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":
            text = path.read_text() if path.is_file() else listing(path.parent)
            waiting += linked(path, text)
            target.write_text(with_folders(path, text))
        else:
            shutil.copyfile(path, target)
    return found


def linked(page: Path, text: str) -> list[Path]:
    """The files of the repository that a page links; of a folder its README.md."""
    prose = FENCE.sub("", text)
    names = [*(name for _, name, _ in LINK.findall(prose) if "://" not in name), *PICTURE.findall(prose)]
    paths = ((page.parent / name).resolve() for name in names)
    return [path / "README.md" if path.is_dir() else path for path in paths if not is_outside(path)]


def is_outside(path: Path) -> bool:
    return OUTSIDE in (path, *path.parents)


def with_folders(page: Path, text: str) -> str:
    """The page, in which links to folders lead to their README.md, and links out of the site are paths."""

    def turned(found: re.Match[str]) -> str:
        head, name, tail = found.groups()
        path = (page.parent / name).resolve()
        if "://" not in name and is_outside(path):
            return f"{head.lstrip('!')[1:-2]} (`{path.relative_to(ROOT)}`)"
        folder = "://" not in name and (page.parent / name).is_dir()
        return f"{head}{name.rstrip('/')}/README.md{tail}" if folder else found[0]

    return LINK.sub(turned, text)


def listing(folder: Path) -> str:
    """A page that links the files of a folder."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    return f"# {folder.name}\n\n" + "".join(f"- [{name}]({name})\n" for name in names)


if __name__ == "__main__":
    shutil.rmtree(PAGES, ignore_errors=True)
    print(f"{len(gather(PAGES))} files in {PAGES.relative_to(ROOT)}")
