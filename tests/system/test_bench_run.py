"""A bench of served devices: the same scenario on a model, an emulator and a bench, and the hardware tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import derloop
from derloop.cli import app
from derloop.result import Result

ROOT = Path(__file__).parents[2]
SCENARIO = ROOT / "scenarios" / "kind_emulator.json"
RATED_KW = 300.0
SHORT = (
    *("duration_s=8", "step_s=0.5", "federates.vpp.services.0.limit_kw=1900"),
    "federates.vpp.services.0.recharge_below_kw=1500",
)
"""A peak from the first instant on: the plant commands the storage at once."""
RESOLUTION_KW = 0.01
"""A step of 701 W and of 704 WSet for a device of 300 kW."""


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DERLOOP_STATE", str(tmp_path / "state"))


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A bench file of the scenario's storage, which another process serves in real time."""
    folder = tmp_path_factory.mktemp("served")
    file = folder / "lab.json"
    words = ["emulate", str(SCENARIO), "--bench", str(file), "--json", "--step", "0.25", "--for", "900"]
    command = [sys.executable, "-m", "derloop.cli", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder) as process:
        assert process.stdout
        assert json.loads(process.stdout.readline())["device"] == "inverter_0"
        yield file
        process.terminate()
        assert process.wait(30) == 0


def run(via: str, out: Path, **options: object) -> Result:
    settings = (*SHORT, f"federates.inverter.via={via}")
    return derloop.run(SCENARIO, settings, out=out, engine="local", report=False, **options)


def powers(result: Result) -> np.ndarray:
    found: np.ndarray = result["inverter.p_kw"][:, 0]
    return found


def test_one_scenario_on_a_model_an_emulator_and_a_bench(bench: Path, tmp_path: Path) -> None:
    model, emulator = run("model", tmp_path / "model"), run("emulator", tmp_path / "emulator")
    real = run("bench:inverter_0", tmp_path / "bench", bench=bench, arm=["inverter_0"])
    assert (real.outcome, real.failure) == ("completed", "")
    assert powers(emulator) == pytest.approx(powers(model), abs=2 * RESOLUTION_KW)
    # A bench acts later, by a step of the emulation and one of the run; then it does the same, by the same plant.
    asked, given = real["vpp.inverter.p_set_kw"][:, 0], powers(real)
    assert np.abs(given[4:, None] - np.stack([asked[4:], asked[3:-1], asked[2:-2]], axis=1)).min(axis=1).max() < 0.5
    assert given[-1] == pytest.approx(powers(emulator)[-1], abs=0.02 * RATED_KW)
    assert (real["inverter.age_s"] < 2).all()
    compared = ["compare", "--signals", *(str(tmp_path / name) for name in ("model", "emulator", "bench"))]
    said = CliRunner().invoke(app, compared)
    assert said.exit_code == 1, said.output
    assert "inverter.p_kw" in said.output


def test_a_device_that_is_not_armed_is_only_read_and_the_run_ends_by_name(bench: Path, tmp_path: Path) -> None:
    found = run("bench:inverter_0", tmp_path / "run", bench=bench)
    assert found.status == 3
    assert "needs `--arm inverter_0`" in found.failure
    assert found.folder.run["statistics"]["inverter"]["modbus_registers_written"] == 0


@pytest.mark.long(about_s=18)
@pytest.mark.timeout(300)
def test_hardware_tests_pass_on_served_devices_through_the_same_bench_file(bench: Path, tmp_path: Path) -> None:
    data = json.loads(bench.read_text())
    data["devices"]["inverter_0"]["safety"] = {"lease": {"kind": "reversion", "seconds": 3}}
    file = tmp_path / "short_lease.json"
    file.write_text(json.dumps(data))
    words = ["-q", "-m", "bench", "--bench", str(file), "--arm", "inverter_0", "-p", "no:cacheprovider"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    said = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/bench", *words],
        cwd=ROOT,
        env=kept,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert said.returncode == 0, said.stdout
    assert "7 passed" in said.stdout


def test_without_a_bench_a_scenario_that_names_equipment_is_refused_with_the_reason() -> None:
    said = CliRunner().invoke(app, ["check", str(SCENARIO), "--set", "federates.inverter.via=bench:inverter_0"])
    assert said.exit_code == 2
    told = "/federates/inverter/via: 'inverter_0' is equipment of a bench, and none is given: --bench FILE"
    assert told in said.output
