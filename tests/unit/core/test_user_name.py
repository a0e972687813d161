"""The name of the engine's user, which no image's /etc/passwd has."""

from __future__ import annotations

import getpass
import os
import pwd

import pytest

from tacho_operator.core.manifests.environment import engine_variables


def test_an_engine_finds_the_name_of_its_user_where_passwd_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch before 2.13 asks getpass for it, and ends with KeyError where there is none."""

    def unknown(uid: int) -> pwd.struct_passwd:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in tuple(os.environ):
        monkeypatch.delenv(name)
    for variable in engine_variables("{}", (), hub_model=False, requests_cpu=False, gpus=True):
        if "value" in variable:
            monkeypatch.setenv(variable["name"], variable["value"])
    assert getpass.getuser() == "tacho"
