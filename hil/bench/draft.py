"""What a scan has found, as files: a draft of a bench file, and the registers of a device for an emulator of it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path
from re import sub
from typing import Any

import numpy as np

from derloop.errors import DerloopError
from hil.bench.file import LONGEST_NAME
from hil.bench.findings import ratings_of
from hil.bench.scan import Behaviour, Found
from hil.inverter.device import Device
from hil.modbus.endpoint import Address
from hil.sunspec.points import RegisterArray

SERVED = "Emulated devices, where `derloop emulate` serves them; it writes this file anew."


def named(found: Sequence[Found]) -> dict[str, Found]:
    """Return the devices by names that say what they are: inv-1, inv-2, bat-1, device-1."""
    counts: dict[str, int] = {}
    names = {}
    for each in found:
        word = _word(each)
        counts[word] = counts.get(word, 0) + 1
        names[f"{word}-{counts[word]}"] = each
    return names


def _word(found: Found) -> str:
    if found.device is None:
        return "device"
    return "bat" if "energy_wh" in ratings_of(found.device) else "inv"


def draft(name: str, devices: dict[str, Found]) -> dict[str, Any]:
    """Return a bench file of what was found. Its author must look at it: limits are the nameplates'."""
    entries = {name: _entry(found) for name, found in devices.items()}
    return {"$schema": "bench.schema.json", "name": name, "devices": entries}


def _entry(found: Found) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "endpoint": found.address.endpoint.model_dump(mode="json", exclude_defaults=False, exclude_none=True),
        "unit": found.address.unit,
    }
    if found.device is None:
        return {
            "description": f"Answers Modbus; {found.why}. It needs a register map.",
            **entry,
            "speaks": "REGISTER MAP",
        }
    entry["identity"] = {part: text for part, text in asdict(found.identity).items() if text and part != "version"}
    if rated_va := ratings_of(found.device).get("s_max_va"):
        entry["rated_kva"] = rated_va / 1000
    return {**entry, "safety": {"limits": _limits(found.device)}}


def _limits(device: Device) -> dict[str, Any]:
    """Return bands that the nameplate gives."""
    rated = ratings_of(device)
    limits: dict[str, Any] = {"limit_pct": {"low": 0, "high": 100}}
    if "p_max_w" in rated:
        limits["p_w"] = {"low": 0.0 - rated.get("p_max_charge_w", 0.0), "high": rated["p_max_w"]}
    if "q_max_absorbed_var" in rated and "q_max_injected_var" in rated:
        limits["q_var"] = {"low": 0.0 - rated["q_max_absorbed_var"], "high": rated["q_max_injected_var"]}
    return limits


def scan_file(found: Found) -> dict[str, Any]:
    """Return everything that was read of one unit, for `derloop emulate` to make a copy of it."""
    device = found.device
    models = None if device is None else {"base": device.map.base, "models": [b.model_id for b in device.map.blocks]}
    return {
        "derloop_scan": 1,
        "device": str(found.identity),
        "endpoint": str(found.address.endpoint),
        "unit": found.address.unit,
        "scanned": datetime.now(UTC).isoformat(timespec="seconds"),
        "sunspec": models,
        "behaviour": None if found.behaviour is None else _behaviour(found.behaviour),
        "refused": [list(span) for span in found.refused],
        "registers": _runs(found.spans),
        "input_registers": _runs(found.inputs),
    }


def _runs(spans: Sequence[tuple[int, RegisterArray]]) -> list[dict[str, Any]]:
    return [{"address": start, "words": words.astype(">u2").tobytes().hex()} for start, words in spans]


def _behaviour(behaviour: Behaviour) -> dict[str, Any]:
    """Return what was measured. Functions that write were not tried: they are named as such."""
    ms = 1000 * np.array(behaviour.latencies_s)
    return {
        "latency_ms": {"median": round(float(np.median(ms)), 3), "p95": round(float(np.quantile(ms, 0.95)), 3)},
        "connections": behaviour.connections,
        "functions": [*behaviour.functions],
        "untried": [6, 16],
    }


def write_served(path: Path, devices: Sequence[tuple[str, Address]]) -> None:
    """Write a bench file of emulated devices; one that was written so before is replaced: they are elsewhere now."""
    entries: dict[str, Any] = {}
    for name, at in devices:
        entry = {"endpoint": at.endpoint.model_dump(mode="json", exclude_none=True), "unit": at.unit}
        entries[_as_in_benches(name, entries)] = entry
    refuse_unserved(path)
    _write(path, {"name": path.stem, "description": SERVED, "devices": entries})


def _as_in_benches(name: str, taken: Collection[str]) -> str:
    """Return a name as bench files have them: a small letter first, no marks side by side or at its end, its own."""
    plain = sub(r"([-_.])[-_.]+", r"\1", name.lower()).lstrip("-_.")
    if not plain[:1].isalpha():
        plain = f"device-{plain}"
    ends = chain([""], (f"-{number}" for number in count(2)))
    names = (plain[: LONGEST_NAME - (5 if end else 0)].rstrip("-_.") + end for end in ends)
    return next(each for each in names if each not in taken)


def refuse_unserved(path: Path) -> None:
    """Raise DerloopError where a file is there already that `write_served` has not written."""
    try:
        is_served = json.loads(path.read_text("utf-8")).get("description") == SERVED
    except (OSError, ValueError, AttributeError):
        is_served = False
    if not is_served:
        refuse_written(path)


def refuse_written(path: Path | None) -> None:
    """Raise DerloopError where a file is there already: a bench file has been thought about, and is not to be lost."""
    if path is not None and path.exists():
        raise DerloopError(f"{path} is there already; move it, or name another file")


def write_files(devices: dict[str, Found], bench: Path | None, registers: Path | None) -> list[Path]:
    """Write a draft of a bench file, and a scan file of each device below a folder; return what was written.

    Of a device of which no register was read there is nothing to copy.
    """
    files = {bench: draft(bench.stem, devices)} if bench is not None and devices else {}
    if registers is not None:
        read = {name: found for name, found in devices.items() if found.spans or found.inputs}
        files |= {registers / f"{name}.scan.json": scan_file(found) for name, found in read.items()}
    for path, data in files.items():
        refuse_written(path)
        _write(path, data)
    return list(files)


def _write(path: Path, data: Mapping[str, Any]) -> None:
    """Write and rename, so that a reader never meets half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    part.replace(path)
