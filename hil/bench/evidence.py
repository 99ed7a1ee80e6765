"""Who took part: what the devices of a run said of themselves, kept in its folder beside their frames."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hil.bench.file import Bench
from hil.bench.findings import ratings_of
from hil.inverter.device import Device

FOLDER = "bench"


def keep_who(run: Path, federate: str, bench: Bench, devices: Iterable[Device], armed: Collection[str]) -> Path:
    """Write the devices of `federate`, discovered, into the folder of a run; return where."""
    path = run / FOLDER / f"{federate}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    said = {device.name: _who(bench, device, armed) for device in devices}
    text = json.dumps({"bench": bench.file.name, "file": str(bench.path), "devices": said}, indent=1)
    path.write_text(text + "\n", encoding="utf-8")
    return path


def _who(bench: Bench, device: Device, armed: Collection[str]) -> dict[str, Any]:
    return {
        "address": str(device.link.address),
        **asdict(device.identity),
        "models": [block.key for block in device.map.blocks],
        "rated": ratings_of(device),
        "armed": device.name in armed,
        "safety": bench.device(device.name).safety.model_dump(mode="json", exclude_defaults=True),
    }
