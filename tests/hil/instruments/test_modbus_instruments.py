"""Instruments over Modbus: sources and meters whose registers a map describes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from derloop.errors import Rejected, ScenarioError, Unreachable
from hil.bench.file import read_bench
from hil.bench.instruments import instruments_of
from hil.instruments.file import AcSourceSettings, MeterSettings
from hil.instruments.instrument import AcSource, PowerMeter
from hil.instruments.modbus import ModbusInstrument
from hil.inverter.mapped import read_register_map
from hil.modbus.endpoint import Tcp
from hil.modbus.pdu import ExceptionAnswer, Function
from hil.phil.settings import PowerSettings
from hil.serving.responder import RegisterResponder, Units
from hil.serving.server import Line, Server

SOURCE = {
    "name": "bench source",
    "points": {
        "model_id": {"address": 0, "type": "uint16"},
        "f_hz": {"address": 10, "type": "uint16", "access": "rw", "scale": 0.01, "unit": "Hz"},
        "output": {"address": 11, "type": "uint16", "access": "rw"},
        **{
            f"v_ln_v_{phase}": {"address": 11 + phase, "type": "uint16", "access": "rw", "scale": 0.1, "unit": "V"}
            for phase in (1, 2, 3)
        },
        **{f"p_w_{phase}": {"address": 20 + 2 * phase, "type": "int32", "unit": "W"} for phase in (1, 2, 3)},
        **{f"q_var_{phase}": {"address": 30 + 2 * phase, "type": "int32", "unit": "var"} for phase in (1, 2, 3)},
    },
    "identity": {"manufacturer": {"text": "bench"}, "model": {"text": "source"}, "expect": {"model_id": 77}},
}


class Registers:
    """Forty registers, as a source holds them."""

    def __init__(self) -> None:
        self.words = np.zeros(60, dtype=np.uint16)
        self.words[0] = 77
        self.refuses: set[int] = set()

    def read(self, address: int, count: int) -> np.ndarray:
        if address + count > len(self.words):
            raise ExceptionAnswer(2)
        return self.words[address : address + count]

    def write(self, address: int, words: Sequence[int]) -> None:
        if address in self.refuses:
            raise ExceptionAnswer(3)
        self.words[address : address + len(words)] = words

    def show(self, address: int, value: int) -> None:
        self.words[address : address + 2] = np.frombuffer(value.to_bytes(4, "big", signed=True), ">u2")


@pytest.fixture
def registers() -> Registers:
    return Registers()


@pytest.fixture
def entry(registers: Registers, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """What a bench file says of the source, on a server of its own."""
    (tmp_path / "source.json").write_text(json.dumps(SOURCE))
    functions = (Function.READ_HOLDING, Function.WRITE_ONE, Function.WRITE_SEVERAL)
    with Server([Line(Tcp(port=0), Units({1: RegisterResponder(registers, functions)}))]) as server:
        endpoint = server.endpoints[0].model_dump(mode="json")
        at = {"transport": "modbus", "endpoint": endpoint}
        yield {"at": at, "commands": "source.json", "deadline_s": 0.5}


@pytest.fixture
def link(entry: dict[str, Any], tmp_path: Path) -> Iterator[ModbusInstrument]:
    settings = AcSourceSettings.model_validate({**entry, "v_ln_v": {"low": 0, "high": 290}})
    made = ModbusInstrument("source", settings, read_register_map(tmp_path / "source.json"), tmp_path)
    yield made
    made.close()


def source(link: ModbusInstrument, entry: dict[str, Any]) -> AcSource:
    return AcSource(link, AcSourceSettings.model_validate({**entry, "v_ln_v": {"low": 0, "high": 290}}))


def test_a_source_is_set_by_registers_and_verified(
    link: ModbusInstrument, entry: dict[str, Any], registers: Registers
) -> None:
    ac = source(link, entry)
    ac.open()
    ac.set(np.array([230.0, 240.5, 250.0]), 59.95)
    ac.switch_on()
    assert registers.words[10:15].tolist() == [5995, 1, 2300, 2405, 2500]
    ac.leave()
    assert registers.words[11] == 0


def test_a_meter_reads_signed_registers_of_its_phases(
    link: ModbusInstrument, entry: dict[str, Any], registers: Registers
) -> None:
    registers.show(22, -1500)
    registers.show(26, 2500)
    registers.show(32, -7)
    meter = PowerMeter(link, MeterSettings.model_validate({**entry, "kind": "meter", "phases": [1, 3]}))
    meter.open()
    found = meter.read()
    assert found.p_w.tolist() == [-1500.0, 2500.0]
    assert found.q_var.tolist() == [-7.0, 0.0]
    assert np.isfinite(found.v_ln_v).all()
    meter.leave()


def test_another_instrument_is_not_used(link: ModbusInstrument, registers: Registers) -> None:
    registers.words[0] = 78
    with pytest.raises(Rejected, match="is no 'bench source': model_id reads 78"):
        link.open()


@pytest.mark.parametrize(("wanted", "is_it"), [("bench source", True), ("SN 1234", False)])
def test_what_a_bench_file_says_of_an_instrument_is_held_against_its_map(
    entry: dict[str, Any], tmp_path: Path, wanted: str, is_it: bool
) -> None:
    settings = AcSourceSettings.model_validate({**entry, "identity": wanted, "v_ln_v": {"low": 0, "high": 290}})
    made = ModbusInstrument("source", settings, read_register_map(tmp_path / "source.json"), tmp_path)
    if is_it:
        made.open()
        made.close()
    else:
        with pytest.raises(Rejected, match="is 'bench source', which does not contain 'SN 1234'"):
            made.open()


def test_what_is_refused_or_rounded_is_told(
    link: ModbusInstrument, entry: dict[str, Any], registers: Registers
) -> None:
    ac = source(link, entry)
    ac.open()
    registers.refuses = {13}
    with pytest.raises(Rejected, match="write 13"):
        ac.set(np.array([230.0, 230.0, 230.0]), 60.0)


def test_a_closed_instrument_is_unreachable(link: ModbusInstrument) -> None:
    with pytest.raises(Unreachable, match="the connection is closed"):
        link.set("output", 0.0)


def test_a_bench_file_may_have_instruments_that_speak_modbus(entry: dict[str, Any], tmp_path: Path) -> None:
    power = {"ac_source": "source", "meter": "source-meter", "phases": [2], "nominal_v": 240}
    data = {
        "name": "lab",
        "devices": {"inv-1": {"endpoint": {"transport": "tcp", "port": 1}, "power": power}},
        "instruments": {
            "source": {**entry, "kind": "ac-source", "v_ln_v": {"low": 0, "high": 290}},
            "source-meter": {**entry, "kind": "meter", "phases": [2]},
        },
    }
    (tmp_path / "lab.json").write_text(json.dumps(data))
    bench = read_bench(tmp_path / "lab.json")
    found = instruments_of(bench.file.instruments, [PowerSettings.model_validate(power)], tmp_path)
    assert (found.ac["source"].phases, [*found.meters]) == ((2,), ["source-meter"])


def test_a_register_map_that_lacks_what_a_source_needs_is_refused(entry: dict[str, Any], tmp_path: Path) -> None:
    lacking = {**SOURCE, "points": {k: v for k, v in SOURCE["points"].items() if k != "output"}}  # type: ignore[attr-defined]
    (tmp_path / "source.json").write_text(json.dumps(lacking))
    source = {**entry, "kind": "ac-source", "v_ln_v": {"low": 0, "high": 290}}
    (tmp_path / "lab.json").write_text(json.dumps({"name": "lab", "instruments": {"source": source}}))
    with pytest.raises(ScenarioError, match="does not fit the kind ac-source: it lacks output"):
        read_bench(tmp_path / "lab.json")
