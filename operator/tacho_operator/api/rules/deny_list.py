"""Engine arguments and variables that a user may not set, and hub variables that a user may.

Pure, for the operator and for offline checks. CEL compares exact spellings and can be bypassed. This module
normalises first: `_` and `-`, `--name=value`, upper and lower case, abbreviations that an engine's parser
would expand, and names inside JSON values.
"""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from tacho_engines.registry import ENGINES, engine_profiles, planner_adapter, presets
from tacho_engines.shared.switches import COMMON, PTXAS, PTXAS_PATTERN, split_switch

_ROWS = (*engine_profiles(), *(preset.profile for preset in presets().values()))
_REFUSED = functools.reduce(operator.or_, (row.rules.denied for row in _ROWS), COMMON)
"""Switches and variables that any engine refuses: a resource that names no engine may use none of those."""
LONG_SWITCHES: Mapping[str, tuple[str, str]] = dict(sorted(_REFUSED.switches.items()))
"""Refused long switch → (why, what to do instead); sorted, so that the CRD does not depend on the order of
engines."""
SHORT_SWITCHES: Mapping[str, str] = dict(sorted(_REFUSED.short.items()))
VARIABLES: Mapping[str, tuple[str, str]] = dict(sorted(_REFUSED.variables.items()))
VARIABLE_PREFIXES: Mapping[str, tuple[str, str]] = dict(sorted(_REFUSED.variable_prefixes.items()))

PROXIES = ("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY")
"""Names of proxy variables, which are accepted in upper and lower case."""
ENDPOINT = "HF_ENDPOINT"
HUB_VARIABLES = (
    *("CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_DIR", "SSL_CERT_FILE"),
    *(ENDPOINT, "HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT", "HF_HUB_DISABLE_XET"),
    *("HF_HUB_VERBOSITY", "HF_XET_HIGH_PERFORMANCE", "HF_XET_NUM_CONCURRENT_RANGE_GETS"),
)
"""Variables that model.hub.env may set besides proxies: certificates, hub address, timeouts and transfer
settings.
"""

_ABBREVIATION_MIN_CHARACTERS = 3
"""Shortest refused abbreviation of a switch with one dash. After two dashes argparse may accept a single
letter.
"""
_LETTERS = "".join(name for name in SHORT_SWITCHES if len(name) == 1 and name not in _REFUSED.joined)
_JOINED = re.compile(rf"-(?:([{''.join(_REFUSED.joined)}]).|([{_LETTERS}])[^a-zA-Z])")
"""A one-letter switch with its value in the same word, as argparse takes it: ``-c4096``, ``-qfp8``."""
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
"""A character escape as JSON may contain it."""


@dataclass(frozen=True, slots=True)
class RefusedSetting:
    """One argument or variable that is refused."""

    index: int
    """Position of the argument or variable in the user's list."""
    name: str
    """Normalised name of the switch, or name of the variable."""
    message: str
    """Message with the setting, the reason for its refusal, and what to do instead."""


def switch_name(argument: str) -> str | None:
    """The switch an argument names, normalised; None where it is a value or a positional.

    >>> switch_name("--Trust_Remote_Code=true")
    'trust-remote-code'
    """
    found = split_switch(argument)
    if found is None:
        return None
    name, _, _ = found
    long = name.casefold().split(".", 1)[0]
    if joined := _JOINED.match(argument):
        return SHORT_SWITCHES[joined[1] or joined[2]]
    if argument.startswith("--") or len(name) > _ABBREVIATION_MIN_CHARACTERS or long in LONG_SWITCHES:
        return long
    return SHORT_SWITCHES.get(name, name)


def refused_arguments(arguments: Sequence[str]) -> tuple[RefusedSetting, ...]:
    """The arguments of `engine.extraArgs` that are refused, in order."""
    found = []
    for index, argument in enumerate(arguments):
        name = next(filter(None, map(_refused_switch, _readings(argument))), None)
        if name is not None:
            why, instead = LONG_SWITCHES[name]
            found.append(RefusedSetting(index, name, f"--{name} is refused: {why}; {instead}"))
        elif "$(" in argument:
            message = f"{argument[:40]!r} is refused: variables are not expanded here; write the value"
            found.append(RefusedSetting(index, "$(", message))
    return tuple(found)


def _readings(argument: str) -> Iterator[str]:
    """``argument`` as it is written, and as the parsers of engines read it."""
    yield argument
    for engine in ENGINES:
        yield from planner_adapter(engine).spelled_out((argument,))


def _refused_switch(argument: str) -> str | None:
    spelled_out = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), argument)
    normalised = spelled_out.casefold().replace("_", "-")
    for inside in _REFUSED.inside:
        if re.search(rf"(^|[^a-z]){inside}($|[^a-z])", normalised):
            return inside
    name = switch_name(argument)
    if name is None:
        return None
    if name in LONG_SWITCHES:
        return name
    if name.startswith("no-") and name[3:] in LONG_SWITCHES:
        return name[3:]
    return _abbreviated(name, 1 if argument.startswith("--") else _ABBREVIATION_MIN_CHARACTERS)


def _abbreviated(name: str, least: int) -> str | None:
    """The refused switch an engine's parser may expand an abbreviation of ``least`` letters or more to."""
    if len(name) < least or name in _REFUSED.legitimate:
        return None
    return next((refused for refused in LONG_SWITCHES if refused.startswith(name)), None)


def refused_variables(variables: Iterable[tuple[str, str | None]]) -> tuple[RefusedSetting, ...]:
    """The variables of `engine.env`, as (name, value), that are refused, in order. None: from a source."""
    found = []
    for index, (name, value) in enumerate(variables):
        if name.startswith(PTXAS) and value is not None and re.fullmatch(PTXAS_PATTERN, value):
            continue
        entry = VARIABLES.get(name.upper())
        if entry is None:
            entry = next((v for p, v in VARIABLE_PREFIXES.items() if name.upper().startswith(p)), None)
        if entry is not None:
            why, instead = entry
            found.append(RefusedSetting(index, name, f"{name} is refused: {why}; {instead}"))
    return tuple(found)


def refused_hub_variables(variables: Iterable[tuple[str, str]]) -> tuple[RefusedSetting, ...]:
    """The variables of `model.hub.env`, as (name, value), that are refused, in order."""
    found = []
    for index, (name, value) in enumerate(variables):
        why = ""
        if not re.fullmatch(hub_variables_pattern(), name):
            why = f"known are {', '.join((*PROXIES, *HUB_VARIABLES))}"
        elif name == ENDPOINT and not value.startswith("https://"):
            why = "its value must begin with https://; use model.hub.endpoint"
        if why:
            found.append(RefusedSetting(index, name, f"{name} is refused: {why}"))
    return tuple(found)


def arguments_pattern() -> str:
    """A regular expression for CEL that finds the plain spellings of refused switches."""
    names = "|".join(n.replace("-", "[-_]") for n in LONG_SWITCHES)
    shorts = "|".join(SHORT_SWITCHES)
    return f"^(--?(?i:{names})|-({shorts}))(=.*)?$"


def variables_pattern() -> str:
    """A regular expression for CEL that finds refused variables, also those that may have some values."""
    found = []  # grouped by their first word, as the CRD has a limited length
    for first, names in groupby(VARIABLES, lambda name: name[: name.find("_") + 1]):
        rest = [name.removeprefix(first) for name in names]
        found.append(f"{first}({'|'.join(rest)})" if first and rest[1:] else first + "|".join(rest))
    return f"^(?i:{'|'.join(found)}|({'|'.join(VARIABLE_PREFIXES)}).*)$"


def hub_variables_pattern() -> str:
    """A regular expression for CEL that finds the variables that `model.hub.env` may set."""
    return f"^(?:(?i:{'|'.join(PROXIES)})|{'|'.join(HUB_VARIABLES)})$"
