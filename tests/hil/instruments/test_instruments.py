"""Instruments over SCPI, against servers with real sockets."""

from __future__ import annotations

import gc
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from derloop.errors import Interlocked, Rejected, ScenarioError, Unreachable
from hil.instruments.command_map import CommandMap, read_command_map
from hil.instruments.emulated import EmulatedInstrument
from hil.instruments.file import AcSourceSettings, DcSourceSettings, MeterSettings, Range, TcpSocket
from hil.instruments.instrument import AcSource, DcSource, PowerMeter
from hil.instruments.scpi import ScpiInstrument

HERE = Path(__file__).parent
SHIPPED = ("scpi-99-ac-source", "scpi-99-dc-source", "scpi-99-power-meter")


def shipped(name: str) -> CommandMap:
    return read_command_map(name, HERE)


def shown(what: str, phase: int) -> float:
    return {"p_w": 1000.0, "q_var": -200.0, "v_ln_v": 240.0, "i_a": 4.2, "f_hz": 60.0}.get(what, 0.0) + phase


@pytest.fixture
def grid() -> Iterator[EmulatedInstrument]:
    with EmulatedInstrument(shipped("scpi-99-ac-source"), shown) as instrument:
        yield instrument


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def ac_settings(port: int, **changes: object) -> AcSourceSettings:
    given = {"at": {"transport": "tcp", "port": port}, "commands": "scpi-99-ac-source", "deadline_s": 0.5}
    return AcSourceSettings.model_validate({**given, "v_ln_v": {"low": 0, "high": 290}, **changes})


@pytest.fixture
def source(grid: EmulatedInstrument) -> Iterator[Callable[..., AcSource]]:
    opened: list[AcSource] = []

    def make(clock: Callable[[], float] | None = None, **changes: object) -> AcSource:
        settings = ac_settings(grid.port, **changes)
        link = ScpiInstrument("grid-sim", settings, shipped("scpi-99-ac-source"))
        opened.append(AcSource(link, settings, clock or Clock()))
        return opened[-1]

    yield make
    for each in opened:
        each._link.close()


def test_a_query_does_not_wait_until_the_command_before_is_acknowledged(source: Callable[..., AcSource]) -> None:
    """It took 40 ms on every setting."""
    link = source()._link
    link.open()
    words = link._words
    carrier = words.visalib.sessions[words.session].interface
    assert carrier.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_source_sets_every_phase_and_the_frequency_and_verifies_them(
    grid: EmulatedInstrument, source: Callable[..., AcSource]
) -> None:
    ac = source()
    ac.open()
    ac.set(np.array([230.0, 240.0, 250.0]), 59.9)
    ac.switch_on()
    assert grid.held == {
        **{("v_ln_v", phase): volts for phase, volts in ((1, 230.0), (2, 240.0), (3, 250.0))},
        ("f_hz", 1): 59.9,
        ("output", 1): 1.0,
    }
    ac.leave()
    assert not grid.is_on


def test_a_source_whose_phases_are_switched_apart_is_on_where_it_is_used_and_off_everywhere() -> None:
    commands = shipped("scpi-99-ac-source")
    output = {**commands.settings["output"].model_dump(), "command": "OUTP{phase} {value}", "query": "OUTP{phase}?"}
    said = {**commands.model_dump(by_alias=True), "settings": {**commands.settings, "output": output}}
    apart = CommandMap.model_validate(said)
    with EmulatedInstrument(apart, shown) as grid:
        settings = ac_settings(grid.port)
        ac = AcSource(ScpiInstrument("grid-sim", settings, apart), settings, Clock(), phases=(2, 3))
        grid.held["output", 1] = 1.0  # by another fleet of the run, which has left it to this one
        ac.open()
        ac.set(np.array([230.0, 240.0]), 60.0)
        ac.switch_on()
        assert [grid.held["output", phase] for phase in (1, 2, 3)] == [1.0, 1.0, 1.0]
        assert grid.held["v_ln_v", 3] == 240.0
        ac.leave()
        assert [grid.held["output", phase] for phase in (1, 2, 3)] == [0.0, 0.0, 0.0]


def test_what_is_outside_of_the_limits_sets_nothing(grid: EmulatedInstrument, source: Callable[..., AcSource]) -> None:
    ac = source()
    ac.open()
    with pytest.raises(Interlocked, match=r"v_ln_v 291 is outside of 0 to 290; nothing is set"):
        ac.set(np.array([230.0, 291.0, 230.0]), 60.0)
    with pytest.raises(Interlocked, match="f_hz 70 is outside of 55 to 65"):
        ac.set(np.array([230.0, 230.0, 230.0]), 70.0)
    with pytest.raises(Interlocked, match="v_ln_v nan is outside"):
        ac.set(np.array([230.0, np.nan, 230.0]), 60.0)
    assert grid.held == {}


def test_a_voltage_goes_no_faster_than_it_may(grid: EmulatedInstrument, source: Callable[..., AcSource]) -> None:
    clock = Clock()
    ac = source(clock, v_ln_v={"low": 0, "high": 290, "rate_per_s": 10}, phases=[1])
    ac.open()
    ac.set(np.array([230.0]), 60.0)
    clock.now_s = 0.5
    ac.set(np.array([250.0]), 60.0)
    assert grid.held["v_ln_v", 1] == 235.0
    clock.now_s = 5.0
    ac.set(np.array([250.0]), 60.0)
    assert grid.held["v_ln_v", 1] == 250.0


def test_a_source_that_forgets_what_it_was_told_is_found_out(
    grid: EmulatedInstrument, source: Callable[..., AcSource]
) -> None:
    ac = source()
    ac.open()
    grid.ignores = {"v_ln_v"}
    with pytest.raises(Rejected, match="v_ln_v of phase 1 was set to 230 and is 0"):
        ac.set(np.array([230.0, 230.0, 230.0]), 60.0)


def test_a_wrong_command_is_told_in_the_instruments_own_words(grid: EmulatedInstrument) -> None:
    wrong = shipped("scpi-99-ac-source").model_copy(update={"begin": ("SYST:REM",)})
    link = ScpiInstrument("grid-sim", ac_settings(grid.port), wrong)
    with pytest.raises(Rejected, match="'SYST:REM': -113,\"Undefined header\""):
        link.open()


def test_another_instrument_than_the_bench_has_is_not_used(
    grid: EmulatedInstrument, source: Callable[..., AcSource]
) -> None:
    with pytest.raises(Rejected, match="does not contain 'SN-7'"):
        source(identity="SN-7").open()


def test_a_silent_instrument_is_unreachable_by_the_deadline(
    grid: EmulatedInstrument, source: Callable[..., AcSource]
) -> None:
    ac = source(deadline_s=0.1)
    ac.open()
    grid.is_silent = True
    with pytest.raises(Unreachable, match="device 'grid-sim': TCPIP"):
        ac.switch_on()


def test_a_source_is_left_off_also_when_the_connection_was_lost(
    grid: EmulatedInstrument, source: Callable[..., AcSource]
) -> None:
    ac = source()
    ac.open()
    ac.switch_on()
    grid.disconnect()
    ac.leave()
    assert not grid.is_on


def test_a_source_that_cannot_be_left_off_says_so(grid: EmulatedInstrument, source: Callable[..., AcSource]) -> None:
    ac = source()
    ac.open()
    ac.switch_on()
    grid.ignores = {"output"}
    with pytest.raises(Rejected, match="output of phase 1 was set to 0 and is 1"):
        ac.leave()
    assert grid.is_on


def test_nobody_there_is_unreachable_and_a_source_never_opened_may_be_left() -> None:
    ac = AcSource(ScpiInstrument("grid-sim", ac_settings(1), shipped("scpi-99-ac-source")), ac_settings(1), Clock())
    with pytest.raises(Unreachable, match="grid-sim"):
        ac.open()
    ac.leave()


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_an_instrument_whose_host_nobody_has_is_unreachable() -> None:
    nowhere = ac_settings(1)
    nowhere = nowhere.model_copy(update={"at": nowhere.at.model_copy(update={"host": "nobody..has.this"})})
    with pytest.raises(Unreachable, match=r"grid-sim.*nobody\.\.has\.this.*could not connect"):
        ScpiInstrument("grid-sim", nowhere, shipped("scpi-99-ac-source")).open()
    gc.collect()  # pyvisa-py leaves its socket to that


def test_a_meter_shows_its_phases_with_their_time() -> None:
    clock = Clock()
    clock.now_s = 12.0
    with EmulatedInstrument(shipped("scpi-99-power-meter"), shown) as instrument:
        settings = MeterSettings(
            kind="meter", at=TcpSocket(port=instrument.port), commands="scpi-99-power-meter", phases=(1, 3)
        )
        meter = PowerMeter(ScpiInstrument("meter", settings, shipped("scpi-99-power-meter")), settings, clock)
        meter.open()
        found = meter.read()
        meter.leave()
    assert found.p_w.tolist() == [1001.0, 1003.0]
    assert found.q_var.tolist() == [-199.0, -197.0]
    assert (found.f_hz, found.at_s) == (61.0, 12.0)


@pytest.mark.parametrize("answer", [float("nan"), 9.91e37])
def test_what_a_meter_cannot_measure_is_no_measurement(answer: float) -> None:
    with EmulatedInstrument(shipped("scpi-99-power-meter"), lambda *_: answer) as instrument:
        settings = MeterSettings(kind="meter", at=TcpSocket(port=instrument.port), commands="scpi-99-power-meter")
        meter = PowerMeter(ScpiInstrument("meter", settings, shipped("scpi-99-power-meter")), settings, Clock())
        meter.open()
        with pytest.raises(Rejected, match="nothing is measured"):
            meter.read()
        meter.leave()


def test_a_dc_source_takes_a_photovoltaic_curve_and_refuses_one_that_is_none() -> None:
    with EmulatedInstrument(shipped("scpi-99-dc-source"), shown) as instrument:
        settings = DcSourceSettings(
            kind="dc-source",
            at=TcpSocket(port=instrument.port),
            commands="scpi-99-dc-source",
            v_dc_v=Range(low=0, high=600),
            i_dc_a=Range(low=0, high=20),
        )
        dc = DcSource(ScpiInstrument("array", settings, shipped("scpi-99-dc-source")), settings, Clock())
        dc.open()
        dc.set_curve(500.0, 10.0, 400.0, 9.0)
        assert instrument.held["vmp_v", 1] == 400.0
        with pytest.raises(Interlocked, match="no curve has its most power at 510 V of 500"):
            dc.set_curve(500.0, 10.0, 510.0, 9.0)
        with pytest.raises(Interlocked, match="i_dc_a 25 is outside"):
            dc.set(400.0, 25.0)
        dc.switch_on()
        dc.leave()
        assert not instrument.is_on


def test_a_command_map_with_other_places_is_refused_with_its_pointer(tmp_path: Path) -> None:
    (tmp_path / "own.json").write_text(
        '{"name": "own", "settings": {"f_hz": {"command": "FREQ {value.__class__}", "query": "FREQ?"},'
        ' "v_v": {"command": "VOLT {value}", "query": "VOLT?"}},'
        ' "readings": {"p_w": {"query": "MEAS? {volts}"}}}'
    )
    with pytest.raises(ScenarioError) as refused:
        read_command_map("own.json", tmp_path)
    said = str(refused.value)
    assert "/readings/p_w/query: has a place {volts}; there are {value} and {phase}" in said
    assert "/settings/v_v" in said


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"command": "OUTP ON"}, "command has no {value}: it would set the same whatever is asked for"),
        ({"words": {"1": "ON"}}, "words have nothing for 0"),
        ({"command": "OUTP{phase} {value}"}, "command and query must both have {phase}, or none of them"),
        ({"query": "OUTP? {value}"}, "query has a {value}, and asks for it"),
    ],
)
def test_a_setting_that_could_not_be_switched_off_or_verified_is_refused(
    tmp_path: Path, changed: dict[str, object], why: str
) -> None:
    output = {"command": "OUTP {value}", "query": "OUTP?", "words": {"0": "OFF", "1": "ON"}, **changed}
    (tmp_path / "own.json").write_text(json.dumps({"name": "own", "settings": {"output": output}}))
    with pytest.raises(ScenarioError) as refused:
        read_command_map("own.json", tmp_path)
    (problem,) = refused.value.problems
    assert (problem.pointer, problem.what) == (f"/settings/output/{why.split()[0]}", why)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_command_maps_are_read(name: str) -> None:
    assert shipped(name).name == name
