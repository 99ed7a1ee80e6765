"""What every table rests on: machine, versions and load; and where figures are kept."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"
PACKAGES = ("derloop", "helics", "mosaik", "numpy", "opendssdirect.py", "pyarrow")


def facts(**more: Any) -> dict[str, Any]:
    """Return what must be known beside figures, and `more`; taken before the work, for the load is its own."""
    return {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "machine": {"system": platform.platform(), "processor": _processor(), "cpus": os.cpu_count()},
        "load_average": os.getloadavg(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        **more,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def kept(found: Mapping[str, Any], prefix: str = "") -> Path:
    """Write figures as JSON to `results/<prefix><date>.json`; return where."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{prefix}{datetime.now():%Y-%m-%d-%H%M%S}.json"
    path.write_text(json.dumps(found, indent=1), encoding="utf-8")
    return path
