"""`derloop doctor`: what is installed, and whether what runs need works here."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory

from derloop import plugins
from derloop.errors import DerloopError, PluginError

PACKAGES = (
    *("derloop", "helics", "mosaik", "opendssdirect.py", "dss-python", "pymodbus", "pysunspec2"),
    *("numpy", "pvlib", "pyarrow", "pydantic", "plotly", "psutil"),
)
OPTIONAL = ("pandas", "polars", "duckdb")
_FREE_MB = 200


def examine(say: Callable[[str], None]) -> bool:
    """Say what is there and try it out; return whether all that is needed works."""
    say(f"python {platform.python_version()} at {sys.executable}, {platform.platform()}, {os.cpu_count()} cpus")
    for package in PACKAGES:
        say(f"  {package:<18} {_version(package) or 'MISSING'}")
    for package in OPTIONAL:
        say(f"  {package:<18} {_version(package) or 'not installed (optional)'}")
    well = all(_version(package) for package in PACKAGES)
    for what, trial in _trials():
        problem = _tried(trial)
        say(f"{'ok     ' if problem is None else 'BROKEN '} {what}" + (f": {problem}" if problem else ""))
        well = well and problem is None
    return well


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _trials() -> Iterator[tuple[str, Callable[[], None]]]:
    for name in plugins.names(plugins.KINDS):
        yield f"kind {name}", lambda name=name: _load(plugins.kind, name)  # type: ignore[misc]
    for name in plugins.names(plugins.CHECKS):
        yield f"check {name}", lambda name=name: _load(plugins.check_kind, name)  # type: ignore[misc]
    for name in plugins.names(plugins.REALISATIONS):
        yield f"realisation {name}", lambda name=name: _load(plugins.realisation, name)  # type: ignore[misc]
    for engine in ("local", "helics", "mosaik"):
        yield f"a run under {engine}", lambda engine=engine: _run(engine, "together", "model")  # type: ignore[misc]
    yield "a run in processes", lambda: _run("helics", "apart", "model")
    yield "a run with an emulated inverter, over Modbus on loopback", lambda: _run("helics", "together", "emulator")
    yield f"{_FREE_MB} MB of disk for runs", _disk


def _load(load: Callable[[str], object], name: str) -> None:
    load(name)


def _tried(trial: Callable[[], None]) -> str | None:
    try:
        trial()
    except Exception as error:  # noqa: BLE001 - whatever is broken is said, and the next thing tried
        return f"{type(error).__name__}: {error}" if not isinstance(error, DerloopError) else str(error)
    return None


def _run(engine: str, placement: str, via: str) -> None:
    """Run the starter scenario for ten minutes; apart, in two processes: more show no more of what a machine lacks."""
    from derloop.starter import copy_starter

    run = import_module("derloop").run
    with TemporaryDirectory(prefix="derloop-doctor-") as scratch:
        project = Path(scratch) / "project"
        copy_starter(project)
        changes = ["duration_s=600", "checks=[]", f"federates.battery.via={via}"]
        changes += ["workers=2"] if placement == "apart" else []
        result = run(
            project / "scenario.json",
            changes,
            engine=engine,
            placement=placement,
            out=Path(scratch) / "run",
            report=False,
        )
    if result.outcome != "completed":
        raise PluginError(result.failure)


def _disk() -> None:
    free_mb = shutil.disk_usage(Path.cwd()).free // 2**20
    if free_mb < _FREE_MB:
        raise PluginError(f"{free_mb} MB are free in {Path.cwd()}")
