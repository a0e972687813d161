"""The server is tested on the versions that its images serve with."""

from __future__ import annotations

from pathlib import Path

import pytest

LOCKS = Path(__file__).parents[3] / "requirements"
SERVED_BY = ("fastapi", "starlette", "uvicorn", "h11", "anyio", "pydantic", "prometheus-client")


def locked(name: str) -> dict[str, str]:
    """Versions by distribution in ``requirements/NAME.txt``."""
    lines = (LOCKS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    pins = (line.split()[0].split("==") for line in lines if line[:1].isalnum() and "==" in line)
    return {pin[0]: pin[1] for pin in pins}


@pytest.mark.parametrize("image", ["transformers", "ctranslate2"])
def test_the_development_lock_has_the_versions_of_the_images(image: str) -> None:
    image_lock, development = locked(image), locked("dev")
    assert {name: development[name] for name in SERVED_BY} == {name: image_lock[name] for name in SERVED_BY}
