"""A bench of emulated devices, and its file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hil.serving.fleet import BankServer

WriteBench = Callable[..., Path]


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records, counts and locks of a test's own."""
    monkeypatch.setenv("DERLOOP_STATE", str(tmp_path / "state"))


@pytest.fixture
def write_bench(tmp_path: Path) -> WriteBench:
    """Return what writes a bench file of these devices, with `file` beside them."""

    def write(devices: dict[str, Any], **file: Any) -> Path:
        path = tmp_path / "lab.json"
        path.write_text(json.dumps({"name": "lab", "devices": devices, **file}), encoding="utf-8")
        return path

    return write


@pytest.fixture
def entries(emulator: BankServer) -> dict[str, Any]:
    """The entries of a bench file of the two emulated devices."""
    names = ("inv-1", "bat-1")
    return {
        name: {"endpoint": address.endpoint.model_dump(mode="json"), "unit": address.unit}
        for name, address in zip(names, emulator.addresses, strict=True)
    }
