"""A model's chat template computes nothing that keeps all threads of the server waiting."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedEnvironment

from tacho_server.text import HuggingFaceTokenizer


class Model:
    """A tokenizer that renders its template as transformers does."""

    chat_template = ""

    def __call__(self, text: str, **_options: object) -> dict[str, list[int]]:
        return {"input_ids": [len(text)]}

    def apply_chat_template(self, _messages: object, **_options: object) -> str:
        return str(ImmutableSandboxedEnvironment().from_string(self.chat_template).render(one=1, text="ab"))


def tokenizer(template: str, monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> HuggingFaceTokenizer:
    for name in ("intercepted_binops", "call_binop"):  # put back after the test
        monkeypatch.setattr(SandboxedEnvironment, name, getattr(SandboxedEnvironment, name))
    model = Model()
    model.chat_template = template
    library = SimpleNamespace(AutoTokenizer=SimpleNamespace(from_pretrained=lambda *_, **__: model))
    return HuggingFaceTokenizer.load(library, tmp_path, trust_remote_code=False, max_model_len=64)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "template",
    ["{{ 10 ** 20_000 }}", "{{ (one + 1) ** 20_000 }}", "{{ 2 ** 4000 * 2 ** 4000 }}", "{{ text * 10**7 }}"],
)
def test_what_is_too_long_is_refused(
    template: str, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    with pytest.raises(ValueError, match="the chat template refuses these messages: a result is too long"):
        tokenizer(template, monkeypatch, tmp_path).chat([], {})


@pytest.mark.parametrize(
    "template", ["{{ 2 ** 8 }}", "{{ 'a' * 3 }}", "{{ 3 * text[:1] }}", "{{ 1.5 * 20 }}"]
)
def test_usual_products_are_computed(
    template: str, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    assert list(tokenizer(template, monkeypatch, tmp_path).chat([], {})) in ([3], [4])


def test_a_power_that_takes_minutes_is_refused_at_once() -> None:
    program = (
        "from tacho_server.templates import bound_templates; bound_templates()\n"
        "from jinja2.sandbox import ImmutableSandboxedEnvironment as E\n"
        "E().from_string('{{ 10 ** (10 ** 10) }}').render()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert "OverflowError: a result is too long" in done.stderr
