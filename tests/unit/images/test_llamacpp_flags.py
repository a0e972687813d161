"""The launcher's flags: each sets what it names in a real CommonParams, and nothing is ignored."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tacho_contract.failure import FailureClass
from tacho_engines.llamacpp.run import LlamaCpp
from tacho_llamacpp.__main__ import check_gpus
from tacho_llamacpp.flags import FLAGS, Flag, UsageError, apply, parse
from tacho_server.errors import LoadError
from tests.launching import runtime_config

xllamacpp: Any = import_module("xllamacpp")

MODEL = ["--model", "/models/m.gguf"]
EXAMPLES: dict[str, tuple[str, object]] = {
    "--model": ("/models/other.gguf", "/models/other.gguf"),
    "--alias": ("smol, small", {"smol", "small"}),
    "--host": ("0.0.0.0,::1", ["0.0.0.0", "::1"]),
    "--port": ("8000", 8000),
    "--threads-http": ("3", 3),
    "--timeout": ("99", 99),
    "--ctx-size": ("4096", 4096),
    "--parallel": ("4", 4),
    "--threads": ("2", 2),
    "--threads-batch": ("3", 3),
    "--batch-size": ("256", 256),
    "--ubatch-size": ("128", 128),
    "--n-gpu-layers": ("all", -2),
    "--split-mode": ("tensor", xllamacpp.llama_split_mode.LLAMA_SPLIT_MODE_TENSOR),
    "--tensor-split": ("3,1", [3.0, 1.0, *[0.0] * 126]),
    "--main-gpu": ("1", 1),
    "--flash-attn": ("on", xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED),
    "--cache-type-k": ("q8_0", xllamacpp.ggml_type.GGML_TYPE_Q8_0),
    "--cache-type-v": ("bf16", xllamacpp.ggml_type.GGML_TYPE_BF16),
    "--fit": ("off", False),
    "--load-mode": ("mmap+mlock", xllamacpp.llama_load_mode.LLAMA_LOAD_MODE_MMAP_MLOCK),
    "--cache-ram": ("0", 0),
    "--chat-template": ("chatml", "chatml"),
    "--chat-template-kwargs": ('{"a": "x", "b": 3}', {"a": '"x"', "b": "3"}),
    "--reasoning-format": ("none", xllamacpp.common_reasoning_format.COMMON_REASONING_FORMAT_NONE),
    "--n-predict": ("77", 77),
    "--seed": ("7", 7),
    "--temp": ("0.5", 0.5),
    "--top-k": ("3", 3),
    "--top-p": ("0.25", 0.25),
    "--min-p": ("0.125", 0.125),
    "--verbosity": ("4", 4),
}
SWITCHES: dict[str, object] = {
    "--mlock": xllamacpp.llama_load_mode.LLAMA_LOAD_MODE_MMAP_MLOCK,
    "--no-mmap": xllamacpp.llama_load_mode.LLAMA_LOAD_MODE_NONE,
}
FROM_FILES = {"--api-key-file", "--chat-template-file"}


def params_for(arguments: list[str], environment: dict[str, str] | None = None) -> Any:
    params = xllamacpp.CommonParams()
    apply(parse(arguments, environment or {}), params)
    return params


def read(params: Any, path: str) -> object:
    for name in path.split("."):
        params = getattr(params, name)
    return params


def spellings() -> list[tuple[Flag, str]]:
    return [(flag, name) for flag in FLAGS for name in flag.names if flag.names[0] not in FROM_FILES]


@pytest.mark.parametrize(
    ("flag", "name"), spellings(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_spelling_sets_its_attribute(flag: Flag, name: str) -> None:
    model = [] if flag.names[0] == "--model" else MODEL
    if flag.switch is not None:
        params, expected = params_for([*model, name]), SWITCHES.get(flag.names[0], flag.switch)
    else:
        text, expected = EXAMPLES[flag.names[0]]
        params = params_for([*model, name, text])
    assert [read(params, path) for path in flag.sets.split()] == [expected] * len(flag.sets.split())


def test_every_choice_is_a_member_of_llama_cpps_enumeration() -> None:
    for flag in FLAGS:
        for choice in flag.choices or ():
            params_for([*MODEL, flag.names[0], choice])


def test_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("# who may ask\none\n\ntwo\n")
    (tmp_path / "template").write_text("{{ messages }}")
    arguments = ["--api-key-file", f"{tmp_path}/keys", "--chat-template-file", f"{tmp_path}/template"]
    params = params_for([*MODEL, *arguments])
    assert (params.api_keys, params.chat_template) == (["one", "two"], "{{ messages }}")


def test_the_key_comes_from_the_environment_and_wins() -> None:
    assert params_for(MODEL, {"LLAMA_API_KEY": "a,b"}).api_keys == ["a", "b"]
    assert params_for(MODEL, {}).api_keys == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "--model is missing"),
        ([*MODEL, "--lora", "x"], "not supported by this image: --lora"),
        ([*MODEL, "--ctx", "1"], "not supported by this image: --ctx:"),
        ([*MODEL, "stray"], "not supported by this image: stray"),
        ([*MODEL, "--ctx-size", "-1"], "negative"),
        ([*MODEL, "--ctx-size", "many"], "not a whole number"),
        ([*MODEL, "--parallel", "0"], "not a positive number"),
        ([*MODEL, "--port", "70000"], "not a port"),
        ([*MODEL, "--tensor-split", "3,x"], "no list of parts"),
        ([*MODEL, "--tensor-split", "0,0"], "no list of at most 128 parts"),
        ([*MODEL, "--flash-attn", "maybe"], "choose from"),
        ([*MODEL, "--mlock", "--no-mmap"], "not allowed with"),
        ([*MODEL, "--jinja", "--no-jinja"], "not allowed with"),
        ([*MODEL, "--alias", ","], "a name is needed"),
        ([*MODEL, "--chat-template-kwargs", "[]"], "a JSON object is needed"),
        ([*MODEL, "--chat-template-kwargs", "{"], "not JSON"),
        ([*MODEL, "--chat-template-file", "/nowhere"], "cannot read /nowhere"),
    ],
)
def test_what_cannot_take_effect_is_refused(arguments: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=re.escape(says)):
        parse(arguments, {})


def test_a_refusal_hides_values() -> None:
    with pytest.raises(UsageError, match="not supported by this image: --ctx, --api-key") as caught:
        parse([*MODEL, "--ctx", "4096", "--api-key=secret"], {})
    assert not {"4096", "secret"} & set(str(caught.value).split())


def test_variables_that_upstream_reads_are_refused_not_ignored() -> None:
    with pytest.raises(UsageError, match="LLAMA_ARG_THREADS would be ignored"):
        parse(MODEL, {"LLAMA_ARG_THREADS": "2"})


def test_what_the_runtime_passes_is_understood() -> None:
    config = runtime_config(
        revision="r1",
        plan_key="k",
        engine="llamacpp",
        entrypoint=("llama-server",),
        model_path="/models/m.gguf",
        served_name="smol",
        max_model_len=1024,
        concurrency=4,
    )
    program, *arguments = LlamaCpp().command(config, config.model.path)
    params = params_for(arguments)
    assert program == "llama-server"
    assert (params.n_ctx, params.n_parallel, params.model_alias) == (4096, 4, {"smol"})


def test_the_readme_documents_exactly_these_flags() -> None:
    import tacho_llamacpp

    readme = (Path(tacho_llamacpp.__file__).parent / "README.md").read_text()
    documented = [line.split("|")[1].strip() for line in readme.splitlines() if line.startswith("| `--")]
    assert documented == ["`" + "`, `".join(flag.names) + "`" for flag in FLAGS]


@pytest.mark.parametrize(
    ("layers", "kinds", "features", "failure_class"),
    [
        (0, ["CPU"], "CPU : AVX2 = 1 | ", ""),
        (-2, ["CPU", "GPU"], "CUDA : ARCHS = 900 | CPU : AVX2 = 1 | ", ""),
        (-2, ["CPU"], "CPU : AVX2 = 1 | ", FailureClass.ENGINE_NOT_SUPPORTED),
        (999, ["ACCEL", "CPU"], "CPU : AVX2 = 1 | ", FailureClass.ENGINE_NOT_SUPPORTED),
        (-1, ["CPU"], "CUDA : ARCHS = 900 | CPU : AVX2 = 1 | ", FailureClass.UNSUPPORTED_GPU),
    ],
)
def test_layers_for_gpus_are_not_computed_on_the_cpu_in_silence(
    layers: int, kinds: list[str], features: str, failure_class: str
) -> None:
    assert failure_of(lambda: check_gpus(layers, kinds, features)) == failure_class


def failure_of(check: Callable[[], None]) -> str:
    """The class of the failure that ``check`` raises; "" when it passes."""
    try:
        check()
    except LoadError as error:
        return error.failure_class
    return ""


def test_a_client_that_sends_nothing_holds_its_thread_for_a_minute() -> None:
    params = xllamacpp.CommonParams()
    apply(parse(MODEL, {}), params)
    assert (params.timeout_read, params.timeout_write) == (60, 60)
