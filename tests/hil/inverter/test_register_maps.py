"""Devices that are not SunSpec, by register maps, over real sockets."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from registers_only import RegistersOnly, battery_inverter, served, string_inverter

from derloop.errors import Rejected, ScenarioError
from hil.inverter.commands import Commands
from hil.inverter.device import Device
from hil.inverter.group import DeviceGroup
from hil.inverter.lease import NO_LEASE, Lease, heartbeat, reversion
from hil.inverter.map_file import RegisterFile, register_file_schema
from hil.inverter.mapped import Mapped, mapped, read_register_map, shipped_maps
from hil.modbus.endpoint import Address, Timing
from hil.modbus.link import Link

Served = tuple[RegistersOnly, Address]
MAPS = shipped_maps()
SLOW = Timing(deadline_s=20.0)


def _group(address: Address, language: Mapped, lease: Lease = NO_LEASE, **how: Any) -> DeviceGroup:
    return DeviceGroup.of([Device(Link("x", address, SLOW), lease, language=language, **how)])


@pytest.fixture
def string_device() -> Iterator[Served]:
    device = string_inverter()
    with served(device) as address:
        yield device, address


@pytest.fixture
def battery_device() -> Iterator[Served]:
    device = battery_inverter()
    with served(device) as address:
        yield device, address


STRING = read_register_map(MAPS["example_string_inverter"])
BATTERY = read_register_map(MAPS["example_battery_inverter"])


def test_what_a_string_inverter_measures_has_its_units_and_word_order(string_device: Served) -> None:
    _, address = string_device
    with _group(address, STRING) as group:
        measured, plate = group.poll(), group.nameplates()
        assert group.identities() == ["derloop example XS-5000 SN0042"]
    assert measured.p_w.tolist() == [3210.5]
    assert measured.q_var.tolist() == [-123.4]
    assert measured.v_ln_v == pytest.approx([230.7])  # of the two phases that are there
    assert measured.f_hz.tolist() == [50.02]
    assert measured.state.tolist() == [3.0]
    assert measured.alarms.tolist() == [2.0]
    assert np.isnan(measured.soc_pct).all()
    assert (plate.p_max_w.tolist(), plate.s_max_va.tolist()) == ([5000.0], [5500.0])
    assert plate.q_max_absorbed_var == pytest.approx([2420.0])
    assert np.isnan(plate.energy_wh).all()


def test_a_poll_of_a_mapped_device_is_one_request(string_device: Served) -> None:
    device, address = string_device
    with _group(address, STRING) as group:
        device.requests.clear()
        group.poll()
        assert device.requests == [(4, 100, 11)]


def test_what_is_absent_or_unknown_is_no_number(string_device: Served) -> None:
    device, address = string_device
    with _group(address, STRING) as group:
        device.put(device.inputs, 103, ">I", 0x80000000, low_first=True)
        device.inputs |= {100: 77, 107: 0xFFFF, 108: 0xFFFF}
        measured = group.poll()
    assert np.isnan([measured.p_w, measured.v_ln_v, measured.state]).all()
    assert measured.q_var.tolist() == [-123.4]


def test_a_limit_is_armed_then_set_then_enabled_register_by_register(string_device: Served) -> None:
    device, address = string_device
    with _group(address, STRING, reversion(60)) as group:
        device.requests.clear()
        group.command(Commands(limit_fraction=np.array([0.405])), now_s=0.0)
        writes = [request for request in device.requests if request[0] == 6]
        assert writes == [(6, 201, 1), (6, 202, 1), (6, 200, 1)]
        assert [device.holding[at] for at in (200, 201, 202)] == [1, 60, 405]
        device.requests.clear()
        group.command(Commands(limit_fraction=np.array([0.405])), now_s=10.0)
        assert device.requests == []
        group.command(Commands(limit_fraction=np.array([0.405])), now_s=30.0)
        assert [r for r in device.requests if r[0] == 6] == [(6, 202, 1), (6, 200, 1)]


def test_what_turns_on_two_functions_stays_on_while_one_is_needed(string_device: Served) -> None:
    device, address = string_device
    off, limit, q_var = np.array([math.nan]), np.array([0.5]), np.array([-800.0])
    with _group(address, STRING) as group:
        group.command(Commands(limit_fraction=limit, q_var=q_var), now_s=0.0)
        assert (device.holding[200], device.holding[202], device.holding[203]) == (1, 500, 0x10000 - 80)
        group.command(Commands(limit_fraction=off, q_var=q_var), now_s=1.0)
        assert (device.holding[200], device.holding[202], device.holding[203]) == (1, 1000, 0x10000 - 80)
        group.command(Commands(limit_fraction=off, q_var=off), now_s=2.0)
        assert (device.holding[200], device.holding[202], device.holding[203]) == (0, 1000, 0)


def test_a_battery_that_counts_charging_as_positive_is_turned_round(battery_device: Served) -> None:
    device, address = battery_device
    with _group(address, BATTERY) as group:
        measured, plate = group.poll(), group.nameplates()
        group.command(Commands(p_w=np.array([-2500.0])), now_s=0.0)
    assert (measured.p_w.tolist(), measured.soc_pct.tolist()) == ([-1500.0], [55.5])
    assert measured.f_hz == pytest.approx([49.98], abs=1e-5)
    assert (plate.energy_wh.tolist(), plate.p_max_charge_w.tolist()) == ([10000.0], [4000.0])
    assert [device.holding[at] for at in (104, 105)] == [0x451C, 0x4000]  # 2500.0 as a 32-bit floating point number
    assert device.holding[102] == 1


def test_a_heartbeat_goes_on_at_half_its_time_and_begins_before_the_enable(battery_device: Served) -> None:
    device, address = battery_device
    written: list[int] = []
    device.on_write = written.append
    with _group(address, BATTERY, heartbeat(30)) as group:
        for now_s in range(0, 40, 5):
            group.command(Commands(p_w=np.array([1000.0])), now_s=now_s)
        assert device.holding[101] == 30
        assert device.holding[100] == 3  # at 0, 15 and 30 s
        assert written[:3] == [100, 104, 102]


def test_a_heartbeat_rolls_over(battery_device: Served) -> None:
    device, address = battery_device
    device.holding[100] = 65_535
    with _group(address, BATTERY, heartbeat(30)) as group:
        group.command(Commands(p_w=np.array([1000.0])), now_s=0.0)
    assert device.holding[100] == 0


def test_a_lease_that_the_device_does_not_have_is_refused(battery_device: Served, string_device: Served) -> None:
    cases = [(battery_device[1], BATTERY, reversion(30), Commands(p_w=np.array([1.0]))),
             (string_device[1], STRING, heartbeat(30), Commands(q_var=np.array([100.0])))]  # fmt: skip
    for address, language, lease, commands in cases:
        with _group(address, language, lease) as group, pytest.raises(Rejected, match="so no such lease"):
            group.command(commands, now_s=0.0)
    assert battery_device[0].holding[102] == 0
    assert string_device[0].holding[200] == 0


def test_another_device_than_the_map_is_for_is_not_spoken_to(string_device: Served) -> None:
    device, address = string_device
    device.holding[0] = 4712
    with pytest.raises(Rejected, match=r"is no 'example string inverter': device_type at 0 reads 4712"):
        _group(address, STRING).start()
    assert device.requests == [(3, 0, 1)]


def test_a_command_that_the_device_cannot_do_says_what_it_can(string_device: Served) -> None:
    refusal = pytest.raises(Rejected, match="takes no p_w; it takes limit_fraction, q_var")
    with _group(string_device[1], STRING) as group, refusal:
        group.command(Commands(p_w=np.array([100.0])), now_s=0.0)


def test_a_rounding_that_matters_is_refused_with_what_is_possible(string_device: Served) -> None:
    device, address = string_device
    with _group(address, STRING, rounding_pct=0.1) as group:
        group.command(Commands(q_var=np.array([501.0])), now_s=0.0)  # 1 var of 2420
        assert group.devices[0].applied["reactive_setpoint"] == 500.0
        with pytest.raises(Rejected, match=r"q_var 504 was asked, 500 is the nearest that reactive_setpoint can hold"):
            group.command(Commands(q_var=np.array([504.0])), now_s=1.0)
    assert device.holding[203] == 50


def _edited(name: str, *changes: tuple[str, Any]) -> RegisterFile:
    """Return a shipped map with values at JSON pointers replaced."""
    data = json.loads(MAPS[name].read_text(encoding="utf-8"))
    for pointer, value in changes:
        *path, last = pointer.strip("/").split("/")
        at = data
        for part in path:
            at = at.setdefault(part, {})
        at[last] = value
    return RegisterFile.model_validate(data)


def test_points_that_are_only_written_are_believed_and_never_read() -> None:
    changes = [(f"/points/{name}/access", "w") for name in ("power_limit", "remote_control")]
    language = mapped(_edited("example_string_inverter", *changes), "test")
    device = string_inverter()
    device.write_only = frozenset({200, 202})
    with served(device) as address, _group(address, language, reversion(60)) as group:
        group.command(Commands(limit_fraction=np.array([0.5])), now_s=0.0)
        group.command(Commands(limit_fraction=np.array([0.5])), now_s=1.0)
    assert [at for function, at, _ in device.requests if function == 6] == [201, 202, 200]
    assert (device.holding[202], device.holding[200]) == (500, 1)


POINT = "/points/"
WRONG: list[tuple[str, Any, str]] = [
    (POINT + "frequency/address", 109, "/address: 'frequency' shares registers with 'voltage_l3'"),
    (POINT + "power_limit/high", 7e3, "/high: 7000 is beyond what uint16 with this scale can hold (0 to 6553.5)"),
    (POINT + "power_limit/low", 101.0, "/low: 101 is above high, 100"),
    (POINT + "frequency/high", 60.0, "/high: limits what is written, and this point is only read"),
    (POINT + "frequency/access", "rw", "/access: input registers can only be read ('r')"),
    (POINT + "reactive_setpoint/type", "int32", "/write_with: function 6 writes one register, int32 has 2"),
    (POINT + "voltage_l1/absent", "0x10000", "/absent: 0x10000 does not fit uint16"),
    (POINT + "frequency/scale", 0, "/scale: must not be 0"),
    (POINT + "status/scale", 2.0, "/scale: enum16 cannot be scaled"),
    (POINT + "serial_number/length", None, "/length: is missing: the registers of the string"),
    (POINT + "serial_number/length", 80, "/type: has 80 registers, a read carries 64"),
    (POINT + "status/symbols", {"A": 70000}, "/symbols/A: 70000 is beyond enum16"),
    (POINT + "status/symbols", {"A": 1}, "/codes/WAITING: no number, and no symbol of 'status'; there are: A"),
    ("/measured/q_var/points", ["reactiv_power"], "did you mean 'reactive_power'?"),
    ("/measured/p_w/points", ["model_name"], "/points/0: 'model_name' is a text; a number is needed"),
    ("/measured/p_w/points", ["active_power", "active_power"], "/factor: the mean of 2 powers is not what all give; 2"),
    ("/measured/alarms/points", ["fault_bits", "fault_bits"], "/points: the mean of bit fields is none: name one"),
    ("/commands/q_var/point", "frequency", "/point: 'frequency' cannot be written (access 'r')"),
    ("/commands/q_var/off", {}, "/off: is missing: what 'on' turns on must be turned off"),
    ("/commands/q_var/factor", 0, "/factor: must not be 0"),
    ("/commands/q_var/watchdog", "reactive_setpoint", "/watchdog: 'reactive_setpoint' takes the setpoint already"),
    ("/commands/q_var/on/reactive_setpoint", 0, "/reactive_setpoint: 'reactive_setpoint' takes the setpoint already"),
    ("/commands/q_var/modes", {"watchdog_s": 0}, "/watchdog_s: 'watchdog_s' takes the seconds of the watchdog already"),
    ("/commands/q_var/on/remote_control", "REMOT", "/on/remote_control: there is no symbol 'REMOT'"),
    ("/commands/q_var/off/power_limit", 33.33, "/off/power_limit: 33.33 is between steps, 33.3 is the nearest"),
    ("/identity/expect/frequenzy", 1, "/expect/frequenzy: there is no point 'frequenzy'; did you mean"),
    ("/numbering", "traditional", "there is no register 200 when registers are numbered 'traditional'"),
    ("/heartbeat", {"point": "watchdog_s", "rolls_at": 5000}, "/rolls_at: 5000 is beyond what 'watchdog_s' takes"),
]


@pytest.mark.parametrize(("pointer", "value", "problem"), WRONG)
def test_what_is_wrong_in_a_map_is_told_with_its_place(pointer: str, value: Any, problem: str) -> None:
    with pytest.raises(ScenarioError) as refusal:
        mapped(_edited("example_string_inverter", (pointer, value)), "test.json")
    assert any(problem in str(each) for each in refusal.value.problems), str(refusal.value)


def test_everything_that_is_wrong_is_told_at_once() -> None:
    changes = [
        (POINT + "frequency/scale", 0),
        ("/commands/q_var/point", "nothing"),
        (POINT + "watchdog_s/address", 202),
    ]
    with pytest.raises(ScenarioError, match="3 problems"):
        mapped(_edited("example_string_inverter", *changes), "test.json")


def test_an_unknown_meaning_is_refused_when_the_file_is_read(tmp_path: Path) -> None:
    data = json.loads(MAPS["example_string_inverter"].read_text(encoding="utf-8"))
    data["measured"]["p_kw"] = data["measured"].pop("p_w")
    path = tmp_path / "map.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(ScenarioError, match=r"/measured/p_kw: unknown; did you mean 'p_w'\?"):
        read_register_map(path)


@pytest.mark.parametrize(
    ("numbering", "address", "place"),
    [("from-0", 7, (3, 7)), ("from-1", 7, (3, 6)), ("traditional", 40_008, (3, 7)), ("traditional", 30_008, (4, 7)),
     ("traditional", 400_008, (3, 7)), ("traditional", 365_536, (4, 65_535))],
)  # fmt: skip
def test_registers_are_numbered_as_the_map_says(numbering: str, address: int, place: tuple[int, int]) -> None:
    file = {"name": "x", "numbering": numbering, "points": {"p": {"address": address, "type": "uint16"}}}
    language = mapped(RegisterFile.model_validate(file), "x")
    point = language.map["p"]
    assert (point.manner.function, point.address) == place


@pytest.mark.parametrize("path", MAPS.values(), ids=MAPS.keys())
def test_the_shipped_maps_fit_their_schema(path: Path) -> None:
    schema = register_file_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(path.read_text(encoding="utf-8")), schema)


def test_every_setting_of_a_map_is_in_the_reference() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "register-maps.md").read_text(encoding="utf-8")
    schema = register_file_schema()
    parts = [schema, *schema["$defs"].values()]
    names = {name for part in parts for name in part.get("properties", {})} - {"$schema"}
    assert not [name for name in sorted(names) if f"`{name}`" not in page]
