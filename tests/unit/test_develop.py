"""The environment that `develop.py` makes: by uv where that can, else by pip."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

DEVELOP = Path(__file__).parents[2] / "develop.py"
Install = Callable[[str], list[str]]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Return what installs where a command with certain words fails, and says by whom what was asked for."""
    spec = importlib.util.spec_from_file_location("develop", DEVELOP)
    assert spec
    assert spec.loader
    develop = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(develop)

    def install(fails: str) -> list[str]:
        asked: list[str] = []

        def run(command: list[Any], **_: Any) -> SimpleNamespace:
            words = " ".join(map(str, command))
            asked.append(("uv" if "/uv pip" in words else "pip") + (": uv" if words.endswith("uv uv") else ": all"))
            return SimpleNamespace(returncode=int(fails in words) if fails else 0)

        monkeypatch.setattr(develop.subprocess, "run", run)
        assert develop._install("derloop[test]") is (fails != "pip install")
        return asked

    return install


@pytest.mark.parametrize(
    ("fails", "asked"),
    [
        ("", ["pip: uv", "uv: all"]),
        ("/uv pip", ["pip: uv", "uv: all", "pip: all"]),
        ("--only-binary uv", ["pip: uv", "pip: all"]),
        ("pip install", ["pip: uv", "pip: all"]),
    ],
    ids=["nothing", "uv", "uv is not to be had", "all"],
)
def test_uv_installs_or_where_it_cannot_pip_does(installed: Install, fails: str, asked: list[str]) -> None:
    assert installed(fails) == asked
