"""Packages from outside: installed into a folder of their own, and commands run with them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

EXECUTABLE = [sys.executable, "-m", "derloop.cli"]


def install(target: Path, name: str, points: Mapping[str, Mapping[str, str]], source: str) -> Path:
    """Put a package into a folder of its own, as `pip install --target` does."""
    (target / f"{name}-1.0.dist-info").mkdir(parents=True)
    (target / f"{name}.py").write_text(source)
    (target / f"{name}-1.0.dist-info" / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [f"[{group}]\n" + "".join(f"{n} = {at}\n" for n, at in named.items()) for group, named in points.items()]
    (target / f"{name}-1.0.dist-info" / "entry_points.txt").write_text("\n".join(lines))
    return target


def environment(path: Path | None) -> dict[str, str]:
    """Return this environment with the package at `path`, in a terminal of 80 columns."""
    return {**os.environ, "PYTHONPATH": str(path or ""), "COLUMNS": "80"}


def derloop(folder: Path, *words: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*EXECUTABLE, *words], cwd=folder, env=environment(path), capture_output=True, text=True, timeout=100
    )
