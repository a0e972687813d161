"""Refused switches and variables, in every spelling an engine's parser takes for them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, strategies as st

from tacho_engines.registry import ENGINES, planner_adapter, runtime_adapter
from tacho_operator.api.rules.deny_list import (
    HUB_VARIABLES,
    LONG_SWITCHES,
    PROXIES,
    SHORT_SWITCHES,
    VARIABLES,
    arguments_pattern,
    hub_variables_pattern,
    refused_arguments,
    refused_hub_variables,
    refused_variables,
    switch_name,
    variables_pattern,
)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["--trust-remote-code"], "trust-remote-code"),
        (["--trust_remote_code"], "trust-remote-code"),
        (["--Trust-Remote_Code=true"], "trust-remote-code"),
        (["--trust-remote"], "trust-remote-code"),
        (["--no-trust-remote-code"], "trust-remote-code"),
        (["--hf-overrides", '{"trust_remote_code": true}'], "trust-remote-code"),
        (["--kv-transfer-config={'kv_connector_module_path':'evil'}"], "module-path"),
        (["--config=/tmp/x.yaml"], "config"),
        (["--conf", "x"], "config"),
        (["--middleware=evil.Middleware"], "middleware"),
        (["--profiler-config.torch_profiler_dir=/x"], "profiler-config"),
        (["-m", "/other"], "model"),
        (["-hf", "org/model"], "hf-repo"),
        (["-c", "1"], "ctx-size"),
        (["-slots"], "slots"),
        (["-UDS=/x"], "uds"),
        (["--tr"], "trust-remote-code"),
        (["--ho=0.0.0.0"], "host"),
        (["-c65536"], "ctx-size"),
        (["-m/other"], "model"),
        (["-qfp8"], "quantization"),
        (['--kv-transfer-config={"kv_connector_module\\u005fpath": "evil"}'], "module-path"),
        (['--ec-transfer-config={"ec_connector_module_path": "evil"}'], "module-path"),
        (["--kv-transfer-config.kv_connector_extra_config.spec_module_path", "evil"], "module-path"),
        (["--model-class-overrides.LlamaForCausalLM=evil:Model"], "model-class-overrides"),
        (["--spec-method", "custom_class"], "custom-class"),
        (['-cc={"inductor_passes": {"x": "evil.pass"}}'], "inductor-passes"),
        (["--log-config-file=/models/log.json"], "log-config-file"),
        (["--logging-config.pylogging_config_file", "/models/log.json"], "pylogging-config-file"),
        (["--mcp-servers-json", "{}"], "mcp-servers-json"),
        (["--ui-mcp-proxy"], "ui-mcp-proxy"),
        (["-ag"], "agent"),
        (["--enable_fault_tolerance"], "enable-fault-tolerance"),
        (["--enable-elastic-ep"], "enable-elastic-ep"),
    ],
)
def test_a_refused_switch_is_found(arguments: list[str], name: str) -> None:
    assert [refusal.name for refusal in refused_arguments(arguments)] == [name]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--max-num-seqs=64"],
        ["--gpu-memory-utilization", "0.9"],
        ["--reasoning-parser", "deepseek_r1"],
        ["--tool-call-parser=hermes", "--enable-auto-tool-choice"],
        ["--config-format", "mistral"],
        ["--model-impl=vllm"],
        ["-tp", "2"],
        ["--speculative-config", '{"method": "ngram", "num_speculative_tokens": 3}'],
        ["--log-level", "debug"],
        ["--enable-eplb", "--enable-expert-parallel", "--enable-lora"],
        ["--ui", "--webui", "--no-ui", "--no-webui"],
        ["--reasoning", "off"],
        ["-rea", "off", "--reasoning-format", "none", "--reasoning-budget", "0"],
        ['-cc={"mode": 3}'],
        ["-tb=2", "-ngl", "99", "-fa"],
        ["--rope-scale", "-1.5"],
        ["--kv-cache-dtype", "fp8"],
        ["--enforce-eager"],
        ["-C"],
        ["-cb", "-ctk", "q8_0", "-mg", "0"],
        ["--chat-template-kwargs", '{"name": "\\u00e9"}'],
        ["config"],
    ],
)
def test_what_people_tune_is_let_through(arguments: list[str]) -> None:
    assert refused_arguments(arguments) == ()


@pytest.mark.parametrize("underscores", [False, True])
def test_what_vllms_parser_takes_for_a_refused_switch_is_refused(underscores: bool) -> None:
    """Each beginning that its parser expands to one: argparse compares with whole names, negated ones too."""
    adapter, taken = planner_adapter("vllm"), 0
    for name in LONG_SWITCHES:
        for whole in (f"--{name}", f"--no-{name}"):
            for end in range(3, len(whole)):
                word = "--" + whole[2:end].replace("-", "_" if underscores else "-")
                if adapter.spelled_out((word,)) == (whole,):
                    taken += 1
                    assert refused_arguments([word]), word
                    assert refused_arguments([f"{word}=x"]), word
    assert taken > 200


def test_a_refusal_says_where_why_and_what_instead() -> None:
    (refusal,) = refused_arguments(["--threads", "2", "--max-model-len=4096"])
    assert refusal.index == 2
    assert refusal.message == "--max-model-len is refused: tacho sets it itself; set context.maxModelLen"


def test_a_device_that_is_no_gpu_is_not_called_one() -> None:
    (refusal,) = refused_variables([("NVIDIA_MOFED", "x")])
    assert "devices of the node" in refusal.message
    assert "gpu.count" not in refusal.message


def test_variables_are_not_expanded_in_arguments() -> None:
    assert [refusal.name for refusal in refused_arguments(["$(HIDDEN)"])] == ["$("]


@pytest.mark.parametrize(
    "name",
    [
        *("LD_PRELOAD", "LD_DEBUG", "ld_bind_now", "PYTHONPATH", "PYTHONINSPECT", "PYTHONPYCACHEPREFIX"),
        *("VLLM_SERVER_DEV_MODE", "TACHO_X", "hf_token", "GCONV_PATH", "OPENSSL_CONF", "OPENSSL_MODULES"),
        *("OPENSSL_ENGINES", "CUDA_INJECTION64_PATH", "NCCL_NET_PLUGIN", "VLLM_NCCL_SO_PATH", "CC"),
        *("GLIBC_TUNABLES", "PYTHONWARNINGS", "PYTHON_PRESITE", "VLLM_LOGGING_CONFIG_PATH"),
        *("VLLM_RUST_FRONTEND_PATH", "VLLM_MODEL_REDIRECT_PATH", "CXX", "TRITON_PTXAS_PATH"),
        *("TRITON_PTXAS_BLACKWELL_PATH", "TRITON_LIBHIP_PATH"),
        *("NVIDIA_VISIBLE_DEVICES", "NVIDIA_IMEX_CHANNELS", "AMD_VISIBLE_DEVICES", "HABANA_VISIBLE_DEVICES"),
    ],
)
def test_a_refused_variable_is_found(name: str) -> None:
    (refusal,) = refused_variables([("OMP_NUM_THREADS", "1"), (name, "x")])
    assert (refusal.index, refusal.name) == (1, name)
    assert "refused" in refusal.message
    assert re.search(variables_pattern(), name)


@pytest.mark.parametrize(
    "name",
    [
        "OMP_NUM_THREADS",
        "CUDA_VISIBLE_DEVICES",
        "ROCR_VISIBLE_DEVICES",
        "PYTHONUNBUFFERED",
        "OLD_X",
        "VLLM_LOGGING_LEVEL",
        "HF_HUB_DOWNLOAD_TIMEOUT",
        "XTACHO_X",
    ],
)
def test_other_variables_are_let_through(name: str) -> None:
    assert refused_variables([(name, "x")]) == ()
    assert not re.search(variables_pattern(), name)


@pytest.mark.parametrize(
    ("value", "refused"),
    [("/usr/local/cuda/bin/ptxas", False), ("/usr/local/cuda-13.0/bin/ptxas", False), ("/models/ptxas", True),
     ("/usr/local/cuda/../ptxas", True), ("/usr/local/cuda/bin/ptxas\n", True), ("", True), (None, True)],
)  # fmt: skip
def test_an_assembler_is_the_images(value: str | None, refused: bool) -> None:
    for name in ("TRITON_PTXAS_PATH", "TRITON_PTXAS_BLACKWELL_PATH"):
        assert bool(refused_variables([(name, value)])) is refused
    others = [("triton_ptxas_path", value), ("TRITON_LIBCUDA_PATH", value)]
    assert len(refused_variables(others)) == 2


@pytest.mark.parametrize("engine", ENGINES)
def test_the_variable_with_an_engines_key_can_be_set(engine: str) -> None:
    key = getattr(runtime_adapter(engine), "key_variable", "")
    assert refused_variables([(key, None)]) == ()


@given(
    name=st.sampled_from(sorted(LONG_SWITCHES)),
    dashes=st.sampled_from(["-", "_"]),
    upper=st.booleans(),
    value=st.sampled_from(["", "=", "=x"]),
)
def test_cel_and_core_agree_on_plain_spellings(name: str, dashes: str, upper: bool, value: str) -> None:
    spelled = f"--{(name.upper() if upper else name).replace('-', dashes)}{value}"
    assert refused_arguments([spelled])
    assert re.search(arguments_pattern(), spelled)


@given(st.from_regex(arguments_pattern(), fullmatch=True))
def test_whatever_cel_refuses_core_refuses(argument: str) -> None:
    assert refused_arguments([argument])


def test_short_switches_stand_for_long_ones() -> None:
    assert set(SHORT_SWITCHES.values()) <= set(LONG_SWITCHES)
    for short in SHORT_SWITCHES:
        assert re.search(arguments_pattern(), f"-{short}")


def test_numbers_and_words_are_no_switches() -> None:
    assert [switch_name(word) for word in ("-1", "-.5", "x", "", "-", "--")] == [None] * 6


def test_every_refused_variable_is_seen_by_cel() -> None:
    assert all(re.search(variables_pattern(), name) for name in VARIABLES)


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "no_proxy", "SSL_CERT_FILE", "HF_HUB_ETAG_TIMEOUT"])
def test_what_the_hub_is_reached_by_may_be_set(name: str) -> None:
    assert refused_hub_variables([(name, "x")]) == ()
    assert re.search(hub_variables_pattern(), name)


@given(st.text(max_size=30))
def test_any_other_variable_of_the_hub_is_refused(name: str) -> None:
    known = name in HUB_VARIABLES or name.upper() in PROXIES
    assert bool(refused_hub_variables([(name, "https://x")])) != known


@given(st.text(max_size=30) | st.text(max_size=20).map(lambda rest: f"https://{rest}"))
def test_the_hub_as_a_variable_is_encrypted(value: str) -> None:
    assert bool(refused_hub_variables([("HF_ENDPOINT", value)])) != value.startswith("https://")
