"""SunSpec meters: read and watched by hand, and as the power meter of a bench. They count what is drawn as positive."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from registers_only import RegistersOnly
from registers_only import served as served_registers
from typer.testing import CliRunner

from derloop.cli import app
from derloop.errors import Rejected, ScenarioError
from hil.bench.file import read_bench
from hil.bench.findings import find
from hil.bench.instruments import instruments_of
from hil.instruments.instrument import Shown
from hil.modbus.endpoint import Address, Tcp
from hil.phil.settings import PowerSettings
from hil.serving.clone import clone
from hil.serving.device import plain
from hil.serving.responder import Units
from hil.serving.scan_file import ScanFile
from hil.serving.server import Line, Server
from hil.sunspec.image import Description, build_image

COMMON = {"Mn": "Maker", "Md": "Meter", "Vr": "1", "SN": "M7", "DA": 1}
METER: Description = {
    1: COMMON,
    203: {
        **{"W": 1500, "W_SF": 0, "VAR": -200, "VAR_SF": 0, "PhV": 230.5, "V_SF": -1, "PPV": 399.2},
        **{"Hz": 50.01, "Hz_SF": -2, "A": 6.5, "A_SF": -2, "TotWhExp": 1, "TotWhImp": 2, "TotWh_SF": 0, "Evt": 0},
    },
}


def served(description: Description) -> Iterator[Address]:
    _, image = build_image(description)
    scan = ScanFile.model_validate(
        {
            "derloop_scan": 1,
            "device": "meter",
            "endpoint": "x",
            "unit": 1,
            "scanned": "2025-07-15T12:00:00+00:00",
            "registers": [{"address": 40000, "words": image.astype(">u2").tobytes().hex()}],
            "refused": [],
            "sunspec": {"base": 40000, "models": [*description]},
        }
    )
    with Server([Line(Tcp(port=0), Units({1: plain(clone("meter", scan)).responder}))]) as server:
        yield Address(server.endpoints[0], 1)


@pytest.fixture
def meter() -> Iterator[Address]:
    yield from served(METER)


@pytest.fixture
def nameplate() -> Iterator[Address]:
    yield from served({1: COMMON})


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DERLOOP_STATE", str(tmp_path / "state"))


def lab(folder: Path, address: Address, **kind: Any) -> Path:
    at = {"endpoint": address.endpoint.model_dump(mode="json")}
    instrument = {"kind": "meter", "at": {"transport": "modbus", **at}, "commands": "sunspec", **kind}
    path = folder / "lab.json"
    path.write_text(json.dumps({"name": "lab", "devices": {"m-1": at}, "instruments": {"pm": instrument}}))
    return path


def test_a_meter_is_checked_read_and_watched(meter: Address, tmp_path: Path) -> None:
    path = lab(tmp_path, meter)
    (found,) = find(read_bench(path), ["m-1"])
    assert (found.problems, found.identity.serial, found.commands) == ((), "M7", ())
    said = CliRunner().invoke(app, ["bench", "read", str(path), "m-1"]).output
    rows = {line.split()[0]: line.split()[-2:] for line in said.splitlines()[1:]}
    assert rows["203.W"] == ["1500", "W"]
    seen = CliRunner().invoke(app, ["bench", "watch", str(path), "--rounds", "1"]).output
    assert seen.splitlines()[2].split()[:6] == ["m-1", "-", "-1,500", "200", "230.5", "50.010"]


def shown_by(lab_file: Path) -> Shown:
    bench = read_bench(lab_file)
    power = PowerSettings(ac_source="none", nominal_v=230, meter="pm")
    found = instruments_of(bench.file.instruments, [power], bench.path.parent).meters["pm"]
    found.open()
    try:
        return found.read()
    finally:
        found.leave()


def test_a_meter_of_a_bench_shows_what_flows_into_the_source(meter: Address, tmp_path: Path) -> None:
    shown = shown_by(lab(tmp_path, meter))
    assert (shown.p_w.tolist(), shown.q_var.tolist(), shown.f_hz) == ([-1500.0], [200.0], 50.01)
    assert shown.v_ln_v.tolist() == [230.5]


def test_another_meter_than_the_bench_has_is_not_read(meter: Address, tmp_path: Path) -> None:
    assert shown_by(lab(tmp_path, meter, identity="Meter 1 M7")).f_hz == 50.01
    with pytest.raises(Rejected, match="is 'Maker Meter 1 M7', which does not contain 'M8'"):
        shown_by(lab(tmp_path, meter, identity="M8"))


@pytest.mark.parametrize(("lacks", "volts", "hertz"), [("PhV", [math.nan] * 3, 50.01), ("Hz", [230.5], math.nan)])
def test_a_meter_that_has_powers_need_not_tell_more(
    lacks: str, volts: list[float], hertz: float, tmp_path: Path
) -> None:
    for address in served({1: COMMON, 203: {name: value for name, value in METER[203].items() if name != lacks}}):
        shown = shown_by(lab(tmp_path, address))
        assert (shown.p_w.tolist(), shown.q_var.tolist()) == ([-1500.0], [200.0])
        assert shown.v_ln_v.tolist() == pytest.approx(volts, nan_ok=True)
        assert shown.f_hz == pytest.approx(hertz, nan_ok=True)


def test_a_meter_may_change_its_scale_factor(tmp_path: Path) -> None:
    """15 kW of 1 W, then 150 kW of 10 W: the same number of steps."""
    made, image = build_image(METER)
    registers = RegistersOnly(functions=(3,), holding=dict(enumerate(image.tolist(), made.base)))
    registers.holding[made["203.W"].address] = 15_000
    with served_registers(registers) as address:
        bench = read_bench(lab(tmp_path, address))
        power = PowerSettings(ac_source="none", nominal_v=230, meter="pm")
        found = instruments_of(bench.file.instruments, [power], bench.path.parent).meters["pm"]
        found.open()
        try:
            before = found.read().p_w.tolist()
            registers.holding[made["203.W_SF"].address] = 1
            after = found.read().p_w.tolist()
        finally:
            found.leave()
    assert (before, after) == ([-15_000.0], [-150_000.0])


PER_PHASE = {"WphA": 100, "WphB": 200, "WphC": 1200, "VARphA": -1, "VARphB": -2, "VARphC": -3}


def test_a_meter_is_read_for_the_phases_of_its_entry(tmp_path: Path) -> None:
    """Three devices, each on a phase of one meter: each had the power of all."""
    for address in served({1: COMMON, 203: {**METER[203], **PER_PHASE, "PhVphA": 230.1, "PhVphC": 231.3}}):
        third = shown_by(lab(tmp_path, address, phases=[3]))
        assert (third.p_w.tolist(), third.q_var.tolist(), third.v_ln_v.tolist()) == ([-1200.0], [3.0], [231.3])
        two = shown_by(lab(tmp_path, address, phases=[1, 2]))
        assert (two.p_w.tolist(), two.q_var.tolist(), two.f_hz) == ([-100.0, -200.0], [1.0, 2.0], 50.01)
        assert np.isnan(two.v_ln_v).all()


def test_a_meter_that_does_not_tell_phases_apart_is_not_read_for_one(meter: Address, tmp_path: Path) -> None:
    with pytest.raises(Rejected, match=r"203.WphB: nothing is measured"):
        shown_by(lab(tmp_path, meter, phases=[2]))


def test_a_meter_of_one_phase_may_stand_at_any(tmp_path: Path) -> None:
    for address in served({1: COMMON, 201: METER[203]}):
        assert shown_by(lab(tmp_path, address, phases=[2])).p_w.tolist() == [-1500.0]


def test_what_measures_nothing_is_no_meter(nameplate: Address, tmp_path: Path) -> None:
    bench = read_bench(lab(tmp_path, nameplate))
    power = PowerSettings(ac_source="none", nominal_v=230, meter="pm")
    found = instruments_of(bench.file.instruments, [power], bench.path.parent).meters["pm"]
    with pytest.raises(Rejected, match="measures no p_w and no q_var; it is no meter"):
        found.open()


def test_a_source_does_not_describe_itself(meter: Address, tmp_path: Path) -> None:
    path = lab(tmp_path, meter, kind="ac-source")
    file = json.loads(path.read_text())
    file["instruments"]["pm"]["v_ln_v"] = {"low": 0, "high": 1}
    path.write_text(json.dumps(file))
    with pytest.raises(ScenarioError, match=r"/instruments/pm/commands: 'sunspec' does not fit the kind ac-source"):
        read_bench(path)
