"""Every command line that a plan makes is parsed by the installed vLLM's own parser."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.unit.engines.vllm_lines import lines

PARSE = """
import json, sys
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser
parser = make_arg_parser(FlexibleArgumentParser())
names = ("max_model_len", "enforce_eager", "kv_cache_memory_bytes", "quantization", "dtype")
for line in json.load(sys.stdin):
    found = parser.parse_args(line)
    print("parsed", json.dumps({name: getattr(found, name) for name in names}))
"""


@pytest.mark.timeout(600)  # half a minute alone, most of it vLLM's import
def test_every_line_is_parsed(engines_python: Path) -> None:
    asked = list(lines("0.32.0"))
    told = subprocess.run(
        [engines_python, "-c", PARSE],
        input=json.dumps(asked),
        env={**os.environ, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr[-2000:]
    parsed = [
        json.loads(line.removeprefix("parsed "))
        for line in told.stdout.splitlines()
        if line.startswith("parsed ")
    ]
    assert len(parsed) == len(asked) > 300
    for line, found in zip(asked, parsed, strict=True):
        assert found["enforce_eager"] is ("--enforce-eager" in line)
        assert found["max_model_len"] == int(line[line.index("--max-model-len") + 1])
        if "--quantization" in line:
            assert found["quantization"] == line[line.index("--quantization") + 1]
