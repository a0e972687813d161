"""Makes HTML pages from the templates: one self-contained file each, for measurements and for simulations."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tacho_cli.figures.chart import STYLE
from tacho_cli.figures.curve import curve_chart
from tacho_cli.figures.messages import headline, notes, sentences, table
from tacho_cli.figures.read import MeasurementView


def render(template: str, **content: object) -> str:
    """The HTML page made from ``templates/<template>.html.j2``. All values are escaped, except charts."""
    environment = Environment(
        loader=PackageLoader("tacho_cli"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    return environment.get_template(f"{template}.html.j2").render(chart_style=raw(STYLE), **content)


def raw(markup: str) -> Markup:
    """A chart or a style, which is inserted without escaping; charts escape their texts themselves."""
    return Markup(markup)  # noqa: S704 - drawn by our own chart module, which escapes its texts


def breakable(word: str) -> Markup:
    """``word`` (CamelCase) as HTML that may be broken between its parts in a narrow table."""
    return Markup("<wbr>").join(re.split(r"(?<=[a-z])(?=[A-Z])", word))


def measurement_page(title: str, measured: Sequence[MeasurementView], remarks: Iterable[str] = ()) -> str:
    """The HTML page of one or more measurements. ``remarks`` precede them."""
    sections = measurement_sections(title, measured)
    return render("measurement", title=title, remarks=list(remarks), sections=sections)


def measurement_sections(title: str, measured: Iterable[MeasurementView]) -> list[dict[str, Any]]:
    """The data for the template macro ``measurements``: texts, curve and levels of each measurement."""
    sections = []
    for found in measured:
        headings, rows = table(found)
        sections.append(
            {
                "headline": headline(found),
                "sentences": sentences(found),
                "chart": raw(curve_chart(found, title)),
                "headings": headings,
                "rows": rows,
                "notes": list(notes(found)),
            }
        )
    return sections
