"""The pages that users read: their English, their sizes, and the line that each how-to ends with.

Checked is prose: no code, no recorded output, no target of a link. Pages of reference/ and design/ have other
readers. `pytest tests/unit/test_prose.py -k start/overview` judges one page.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOW_TO = [page for part in ("start", "use", "operate") for page in sorted(ROOT.glob(f"docs/{part}/*.md"))]
EVIDENCE = sorted(ROOT.glob("docs/evidence/*.md"))
PAGES = [
    *(ROOT / name for name in ("README.md", "SECURITY.md", "docs/README.md")),
    *HOW_TO,
    *sorted(ROOT.glob("docs/compare/*.md")),
    *EVIDENCE,
]
TABLES_OF_MESSAGES = frozenset({"docs/operate/troubleshoot.md"})
"""Pages whose tables quote the messages and next steps of the code."""

UNIT = (
    "second|minute|hour|day|request|token|stream|replica|pod|node|revision|engine|namespace|reason|GPU|model"
)
RULES = {
    "`if` or `when` for a condition": re.compile(
        r"\b(?<!from )[Ww]here\b(?! to\b| (it|they|you|this|that) (is|are|runs?|lies?|keeps?)\b)"
    ),
    "`only`": re.compile(r"\b[Aa]lone\b"),
    "`next to`, `compared with` or `and`": re.compile(r"\b[Bb]esides?\b"),
    "`again`": re.compile(r"\b[Aa]new\b"),
    "`even if`": re.compile(r"\balso (where|when|after)\b"),
    "the condition or field by its name": re.compile(r"\b(say|says|said|tell|tells|told|saying) so\b"),
    "`per` for rates": re.compile(
        rf"\b(tokens|requests|chunks|steps|rows?|events?|lines?|files?|bytes|[KMGT]i?B|replicas|pods?|USD|dollars?)"
        rf" an? ({UNIT})\b"
    ),
    "no space before %": re.compile(r"\d %"),
}
"""What to write instead, by what no prose has."""
OPENINGS = {
    "a sentence opens with its subject": re.compile(r"(Of|Who|Whoever|Whatever) "),
    "normal word order": re.compile(r"(Never|Not) \w+ (is|are|was|were)\b"),
    "name the thing": re.compile(r"What [^?]*\b(goes|stays|is|are|serves|has)\b[^?]*$"),
}
MOST_NUMBERS = 2
"""In a sentence. More belong into a table."""
NUMBER = re.compile(r"(?<![\w.#/-])\d[\d,.]*(?![\w-])")
NAMES_WITH_NUMBERS = re.compile(
    r"\b(vLLM|Kubernetes|Helm|Python|Go|Debian|Ubuntu|CUDA|Transformers|SGLang|TensorRT-LLM|TGI|LiteLLM|Qwen|Llama"
    r"|Gemma|Phi|IPv|HTTP|version|port|exit code|code|status) (\d[\w.]*(, | and | or | to )?)+"
    r"|\b(4|8|16|32)[- ]bits?\b|\b20\d\d-\d\d-\d\d\b|\b(19|20)\d\d\b"
)
ALLOWED: dict[tuple[str, str], str] = {}
"""(page, what was found) by why it stays."""
MOST_ALLOWED = 0
"""May only shrink."""

MOST_LINES = {"README.md": 115, "SECURITY.md": 60, "CHANGELOG.md": 40}
MOST_WORDS = 32_000
"""Of docs/ without reference/ and design/."""
MOST_WORDS_OF_EVIDENCE = 800
EVIDENCE_PARTS = ["Claim", "Setup", "Result", "Where it fails", "Reproduce"]
NO_HOW_TO = frozenset({"docs/start/overview.md", "docs/operate/troubleshoot.md"})
"""Pages that explain or list, and have nothing to try."""


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def paragraphs(page: Path) -> list[str]:
    """The prose of a page: paragraphs, items of lists, rows of tables; without headings and code."""
    text = re.sub(r"^( *)(```|~~~).*?^\1\2\s*$|<!--.*?-->", "", page.read_text(), flags=re.M | re.S)
    text = re.sub(r"^#.*$|^<[^>]*>\s*$|^ {4,}[^ -*].*$", "", text, flags=re.M)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"`+[^`]+`+", "CODE", text)
    blocks = re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )|\n(?=\|)|(?<=\|)\n", text)
    if name(page) in TABLES_OF_MESSAGES:
        blocks = [block for block in blocks if not block.lstrip().startswith("|")]
    return [" ".join(block.split()) for block in blocks if block.strip()]


def sentences(paragraph: str) -> list[str]:
    plain = re.sub(r"[*_>]+", "", re.sub(r"^(?:[-*]|\d+\.) ", "", paragraph)).strip()
    return [part.strip() for part in re.split(r"(?<=[.!?])\s+(?=[\"(]?[A-Z])", plain) if part.strip()]


def faults(page: Path) -> list[str]:
    found = []
    for paragraph in paragraphs(page):
        found += [
            f"{why}: {match[0]!r} in {paragraph[max(0, match.start() - 40) : match.end() + 40]!r}"
            for why, rule in RULES.items()
            for match in rule.finditer(paragraph)
            if (name(page), match[0]) not in ALLOWED
        ]
        if paragraph.startswith("|"):
            continue
        for sentence in sentences(paragraph):
            found += [f"{why}: {sentence[:80]!r}" for why, rule in OPENINGS.items() if rule.match(sentence)]
            numbers = NUMBER.findall(NAMES_WITH_NUMBERS.sub("", sentence))
            if len(numbers) > MOST_NUMBERS:
                found.append(f"{len(numbers)} numbers: {sentence[:160]!r}")
    return found


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_prose_is_plain_english(page: Path) -> None:
    assert faults(page) == []


def test_the_allowances_are_used_and_few() -> None:
    assert len(ALLOWED) <= MOST_ALLOWED
    assert [key for key in ALLOWED if key[1] not in " ".join(paragraphs(ROOT / key[0]))] == []


@pytest.mark.parametrize(
    "text",
    [
        "It is refused where the GPU is small.",
        "Set this value alone.",
        "It runs beside the other.",
        "tacho measures anew.",
        "The condition says so.",
        "It had 64 tokens a second.",
        "It was 5 % slower.",
        "Of two releases each has its own.",
        "Never judged are first revisions.",
        "What serves goes on.",
        "It kept 5 of 7 within 3 ms.",
    ],
)
def test_a_fault_is_found(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.unit.test_prose.ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(f"# Where alone\n\nIt is 95% of `where 5 %`, on vLLM 0.32 and port 8000.\n\n{text}\n")
    (found,) = faults(page)
    assert found


@pytest.mark.parametrize("page", [page for page in HOW_TO if name(page) not in NO_HOW_TO], ids=name)
def test_a_how_to_ends_with_what_was_tested(page: Path) -> None:
    last = " ".join(page.read_text().rstrip().split("\n\n")[-1].split())
    assert re.fullmatch(r"\*Tested:\* .+ \*Not tested:\* .+", last)


@pytest.mark.parametrize("file", MOST_LINES)
def test_front_pages_are_short(file: str) -> None:
    assert len((ROOT / file).read_text().splitlines()) <= MOST_LINES[file]


def test_the_pages_that_users_read_are_few_words() -> None:
    pages = [page for page in ROOT.glob("docs/**/*.md") if page.parts[-2] not in ("reference", "design")]
    assert sum(len(page.read_text().split()) for page in pages) <= MOST_WORDS


@pytest.mark.parametrize("page", EVIDENCE, ids=name)
def test_evidence_has_its_parts_in_few_words(page: Path) -> None:
    text = page.read_text()
    assert re.findall(r"^## (.*)$", text, re.M) == EVIDENCE_PARTS
    assert len(text.split()) <= MOST_WORDS_OF_EVIDENCE


def test_there_are_six_pages_of_evidence() -> None:
    assert len(EVIDENCE) == 6
