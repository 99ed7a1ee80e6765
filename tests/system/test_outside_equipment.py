"""Packages from outside that bring commands and equipment: granted on the command line, missing or kept by name."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from outside import derloop, environment, install

PACKAGE = """
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from derloop.contract import Interface, Port
from derloop.errors import DerloopError
from derloop.kind import EquipmentMissing

bench = typer.Typer()


@bench.command()
def look(name: Annotated[str, typer.Argument()]) -> None:
    "Look at the rig."
    if name != "rig-1":
        raise DerloopError(f"no rig {name!r}")
    print("it is there")


class Rig:
    def __init__(self, model, permissions):
        self.interface = Interface(model.interface.step_ns, model.interface.inputs, model.interface.outputs)
        self._model, self._permissions = model, permissions

    def keep_in(self, folder: Path) -> None:
        (folder / "rig.txt").write_text(f"{self._permissions.bench.name} {self._permissions.armed}")

    def start(self):
        return self._model.start()

    def step(self, now_ns, inputs):
        return self._model.step(now_ns, inputs)

    def stop(self):
        self._model.stop()


def realise(model, settings, terminals, argument, context):
    if context.permissions.bench is None:
        raise EquipmentMissing([(("via",), f"{argument!r} is equipment, and no bench file says where it is")])
    return Rig(model, context.permissions)
"""
POINTS = {
    "derloop.commands": {"rig": "rigs:bench", "broken": "rigs:nothing"},
    "derloop.realisations": {"rig": "rigs:realise"},
}
STUDY = {
    "$schema": "scenario.schema.json",
    "name": "study",
    "start": "2025-07-15T12:00:00Z",
    "duration_s": 120,
    "step_s": 60,
    "federates": {
        "grid": {"kind": "opendss", "feeder": "feeder.dss"},
        "battery": {
            "kind": "battery",
            "via": "rig:rig-1",
            "at": [{"bus": "load", "rated_kva": 10}],
            "energy_kwh": 10,
            "mode": "time-of-use",
            "time_of_use": {"periods": [{"from_h": 17, "to_h": 21, "action": "discharge"}], "exports": True},
        },
    },
}
FEEDER = """clear
new circuit.study basekv=0.4 pu=1.0 phases=3 bus1=source
new line.one bus1=source bus2=load length=0.1 units=km
new load.house bus1=load.1.2.3 phases=3 kv=0.4 kw=10 pf=0.98
set voltagebases=[0.4]
calcvoltagebases
"""


@pytest.fixture(scope="module")
def rigs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("target"), "rigs", POINTS, PACKAGE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "study.json").write_text(json.dumps(STUDY))
    (tmp_path / "feeder.dss").write_text(FEEDER)
    (tmp_path / "lab.json").write_text("{}")
    return tmp_path


def test_a_command_of_a_package_is_listed_and_its_errors_are_told_as_our_own(rigs: Path, tmp_path: Path) -> None:
    listed = derloop(tmp_path, "--help", path=rigs).stdout
    assert "Look at the rig." in listed
    assert "BROKEN: command 'broken' of rigs 1.0" in " ".join(listed.split())
    assert derloop(tmp_path, "rig", "rig-1", path=rigs).stdout == "it is there\n"
    wrong = derloop(tmp_path, "rig", "rig-2", path=rigs)
    assert (wrong.returncode, wrong.stderr) == (2, "derloop: no rig 'rig-2'\n")
    broken = derloop(tmp_path, "broken", "whatever", path=rigs)
    assert broken.returncode == 2
    assert "has no attribute 'nothing'" in broken.stderr
    assert "Traceback" not in broken.stderr


def test_a_scenario_whose_equipment_is_not_here_is_refused_with_its_pointer(rigs: Path, folder: Path) -> None:
    done = derloop(folder, "check", "study.json", path=rigs)
    assert done.returncode == 2
    assert "/federates/battery/via: 'rig-1' is equipment, and no bench file says where it is" in done.stderr


def test_a_suite_skips_a_scenario_whose_equipment_is_not_here(rigs: Path, folder: Path) -> None:
    words = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "study.json"]
    done = subprocess.run(words, cwd=folder, env=environment(rigs), capture_output=True, text=True, timeout=100)
    assert "1 skipped" in done.stdout
    assert "'rig-1' is equipment, and no bench file says where it is" in done.stdout


@pytest.mark.parametrize("placement", ["together", "apart"])
def test_equipment_knows_its_bench_and_what_is_armed_and_keeps_its_files(
    placement: str, rigs: Path, folder: Path
) -> None:
    words = ("--bench", "lab.json", "--arm", "rig-1", "--placement", placement, "--out", "run", "--no-report")
    done = derloop(folder, "run", "study.json", *words, path=rigs)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (folder / "run" / "rig.txt").read_text() == "lab.json ('rig-1',)"
    said = json.loads((folder / "run" / "run.json").read_text())
    assert (said["bench"], said["armed"]) == (str(folder / "lab.json"), ["rig-1"])


def test_nothing_is_armed_without_a_bench(folder: Path) -> None:
    done = derloop(folder, "run", "study.json", "--arm", "rig-1")
    assert (done.returncode, done.stderr) == (2, "derloop: there is no bench file on which rig-1 could be armed\n")
