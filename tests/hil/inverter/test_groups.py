"""Many devices at once: some fail, some share a connection, some are no longer what they were."""

from __future__ import annotations

import asyncio
import gc
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from types import SimpleNamespace

import numpy as np
import pytest
from emulated import equipped
from registers_only import battery_inverter, served, string_inverter

from derloop.errors import Rejected, Unreachable
from hil.emulator.bank import RegisterBank
from hil.emulator.nameplate import Ratings
from hil.inverter.commands import Commands, VoltVarCurve
from hil.inverter.device import Device
from hil.inverter.going import all_exchanged
from hil.inverter.group import DeviceGroup
from hil.inverter.guard import Change, Unguarded
from hil.inverter.mapped import read_register_map, shipped_maps
from hil.inverter.measurements import Measurements
from hil.modbus.connection import Connection
from hil.modbus.endpoint import Address, Tcp, Timing
from hil.modbus.link import Link
from hil.modbus.pdu import ExceptionAnswer, ExceptionCode
from hil.modbus.thread import LoopThread
from hil.serving.chance import Chance
from hil.serving.file import FleetEntry
from hil.serving.fleet import BankServer
from hil.serving.responder import BankRegisters, BankResponder, RegisterResponder, Units
from hil.serving.server import Line, Server

NAN = math.nan
SOON = Timing(deadline_s=1.0, attempts=1)


@pytest.fixture
def bank() -> RegisterBank:
    bank = equipped([Ratings(f"pv_{i}", 10e3, 11e3, 4840.0, 4840.0, 240.0) for i in range(3)])
    bank.set_measurements(Measurements.of(np.array([1e3, 2e3, 3e3]), np.zeros(3), np.full(3, 240.0), f_hz=60.0))
    return bank


@pytest.fixture
def server(bank: RegisterBank) -> Iterator[BankServer]:
    with BankServer(bank) as serving:
        yield serving


def _devices(server: BankServer) -> list[Device]:
    return [Device(Link(f"pv_{i}", address, SOON)) for i, address in enumerate(server.addresses)]


def _forget(bank: RegisterBank, device: int, point: str) -> None:
    """Overwrite what a model says of itself, as if its registers had moved."""
    bank._registers.put(device, point, 64_000)


def test_one_device_that_fails_does_not_take_the_others_along(bank: RegisterBank, server: BankServer) -> None:
    with DeviceGroup.of(_devices(server)) as group:
        failures = group.command_each(Commands(limit_fraction=np.array([0.4, 1.2, 0.6])), now_s=0.0)
        assert list(failures) == ["pv_1"]
        assert isinstance(failures["pv_1"], Rejected)
        assert bank.settings().limit_fraction.tolist() == [0.4, 1.0, 0.6]
        polled = group.exchange_each(Commands(limit_fraction=np.array([0.4, 1.2, 0.6])), now_s=1.0)
    assert np.array_equal(polled.measured.p_w, [1e3, NAN, 3e3], equal_nan=True)
    assert (polled.read_ns > 0).tolist() == [True, False, True]
    assert list(polled.failures) == ["pv_1"]


class _NotMeasuring(BankRegisters):
    """Refuses to be read from one address on."""

    refused: int | None = None

    def read(self, address: int, count: int) -> Sequence[int]:
        if address == self.refused:
            raise ExceptionAnswer(ExceptionCode.DEVICE_FAILURE)
        return super().read(address, count)


def test_a_command_is_done_and_known_to_be_though_the_poll_after_it_fails(bank: RegisterBank) -> None:
    registers, limit = _NotMeasuring(bank, 0), Commands(limit_fraction=np.array([0.4]))
    with Server([Line(Tcp(port=0), Units({1: RegisterResponder(registers)}))]) as server:
        device = Device(Link("pv_0", Address(server.endpoints[0]), SOON))
        with DeviceGroup.of([device]) as group:
            registers.refused = device.plan.requests[0].address
            polled = group.exchange_each(limit, now_s=0.0)
            assert "exception 4" in str(polled.failures["pv_0"])
            assert polled.read_ns.tolist() == [0]
            assert bank.settings().limit_fraction[0] == 0.4
            assert device.applied["704.WMaxLimPct"] == 40.0
            registers.refused, written = None, group.traffic.registers_written
            assert group.exchange(limit, now_s=1.0).p_w.tolist() == [1e3]
            assert group.traffic.registers_written == written


class _Busy(BankRegisters):
    """Answers 'busy' to so many writes."""

    busy = 0

    def write(self, address: int, words: Sequence[int]) -> None:
        if self.busy:
            self.busy -= 1
            raise ExceptionAnswer(ExceptionCode.BUSY)
        super().write(address, words)


def test_a_write_that_is_refused_as_busy_is_made_again_within_the_exchange(bank: RegisterBank) -> None:
    registers, timing = _Busy(bank, 0), Timing(deadline_s=5.0, attempts=3, busy_pause_s=0.01)
    with (
        Server([Line(Tcp(port=0), Units({1: RegisterResponder(registers)}))]) as server,
        DeviceGroup.of([Device(Link("pv_0", Address(server.endpoints[0]), timing))]) as group,
    ):
        registers.busy = 2
        assert group.exchange(Commands(limit_fraction=np.array([0.4])), now_s=0.0).p_w.tolist() == [1e3]
        assert (group.traffic.retries, group.traffic.connects) == (2, 1)
        registers.busy = 3
        failures = group.exchange_each(Commands(limit_fraction=np.array([0.5])), now_s=1.0).failures
    assert "exception 6" in str(failures["pv_0"])
    assert bank.settings().limit_fraction[0] == 0.4


def test_an_exchange_that_is_interrupted_ends_for_all_and_the_next_one_goes_well(
    bank: RegisterBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    quirks = FleetEntry.model_validate({"quirks_of": {"pv_1": {"latency": {"mean_ms": 300, "spread_ms": 0}}}})
    names, limits = [f"pv_{i}" for i in range(3)], np.array([0.4, 0.5, 0.6])
    thread = LoopThread("test")
    with BankServer(bank, names, quirks) as server, ExitStack() as opened:
        with monkeypatch.context() as discovered_at_once:
            discovered_at_once.setattr(Chance, "latency_s", lambda *_: 0.0)
            group = opened.enter_context(DeviceGroup.of(_devices(server), thread))
        orders = dict(zip(names, Commands(limit_fraction=limits).orders(3), strict=True))
        devices = dict(zip(names, group.devices, strict=True))
        with pytest.raises(TimeoutError):
            thread.run(asyncio.wait_for(all_exchanged(devices, orders, 0.0), 0.1))
        assert [device.link.connected for device in group.devices] == [True, False, True]
        assert group.exchange(Commands(limit_fraction=limits), now_s=1.0).p_w.tolist() == [1e3, 2e3, 3e3]
    thread.close()
    assert bank.settings().limit_fraction.tolist() == [0.4, 0.5, 0.6]


class _Failing(Unguarded):
    """A guard with a fault of its own."""

    def written(self, changes: Sequence[Change], now_s: float) -> None:
        raise ZeroDivisionError


def test_a_fault_in_what_is_done_with_an_answer_is_raised_when_all_have_ended(
    bank: RegisterBank, server: BankServer
) -> None:
    with DeviceGroup.of(_devices(server)) as group:
        group.devices[1].guard = _Failing()
        with pytest.raises(ZeroDivisionError):
            group.exchange(Commands(limit_fraction=np.array([0.4, 0.5, 0.6])), now_s=0.0)
        assert bank.settings().limit_fraction.tolist() == [0.4, 0.5, 0.6]
        assert [device.link.connected for device in group.devices] == [True, True, True]


def test_garbage_is_looked_for_again_after_an_exchange(server: BankServer) -> None:
    with DeviceGroup.of(_devices(server)) as group:
        group.exchange(Commands(), now_s=0.0)
        assert gc.isenabled()
        gc.disable()
        try:
            group.exchange(Commands(), now_s=1.0)
            assert not gc.isenabled()
        finally:
            gc.enable()


def test_a_device_that_is_gone_is_named_and_measures_nothing(server: BankServer) -> None:
    lost = battery_inverter()
    with served(lost) as address:
        language = read_register_map(shipped_maps()["example_battery_inverter"])
        group = DeviceGroup.of([*_devices(server), Device(Link("battery", address, SOON), language=language)])
        group.start()
        assert group.poll().p_w.tolist() == [1e3, 2e3, 3e3, -1500.0]
    polled = group.poll_each()
    group.close()
    assert isinstance(polled.failures["battery"], Unreachable)
    assert np.array_equal(polled.measured.p_w, [1e3, 2e3, 3e3, NAN], equal_nan=True)
    assert np.isnan(polled.measured.state[3])


def test_devices_of_different_languages_stand_in_one_vector(server: BankServer) -> None:
    maps = shipped_maps()
    with served(string_inverter()) as string, served(battery_inverter()) as battery:
        mixed = [
            *_devices(server),
            Device(Link("string", string, SOON), language=read_register_map(maps["example_string_inverter"])),
            Device(Link("battery", battery, SOON), language=read_register_map(maps["example_battery_inverter"])),
        ]
        with DeviceGroup.of(mixed) as group:
            measured = group.poll()
    assert measured.p_w.tolist() == [1e3, 2e3, 3e3, 3210.5, -1500.0]
    assert measured.v_ln_v[:4] == pytest.approx([240.0, 240.0, 240.0, 230.7])
    assert np.isnan(measured.v_ln_v[4])
    assert measured.state.tolist() == [3.0, 3.0, 3.0, 3.0, 3.0]
    assert measured.soc_pct[4] == 55.5


def test_what_is_measured_says_when_it_was_read(server: BankServer) -> None:
    with DeviceGroup.of(_devices(server)) as group:
        before = time.monotonic_ns()
        polled = group.poll_each()
        after = time.monotonic_ns()
    assert ((before < polled.read_ns) & (polled.read_ns < after)).all()


def test_registers_that_mean_something_else_now_are_no_measurement(bank: RegisterBank, server: BankServer) -> None:
    with DeviceGroup.of(_devices(server)) as group:
        _forget(bank, 1, "701.ID")
        polled = group.poll_each()
        assert np.array_equal(polled.measured.p_w, [1e3, NAN, 3e3], equal_nan=True)
        assert list(polled.failures) == ["pv_1"]
        with pytest.raises(Rejected, match="its registers are not what they were"):
            group.poll()


def test_after_a_reconnection_a_device_with_another_map_is_not_written_to(
    bank: RegisterBank, server: BankServer
) -> None:
    thread = LoopThread("test")
    with DeviceGroup.of(_devices(server), thread) as group:
        _forget(bank, 1, "701.L")
        for device in group.devices:
            thread.run(device.link.close())
        for now_s in (0.0, 1.0):  # and not a second time either
            failures = group.command_each(Commands(limit_fraction=np.array([0.4, 0.5, 0.6])), now_s)
            assert list(failures) == ["pv_1"]
            assert "701.L at" in str(failures["pv_1"])
        assert bank.settings().limit_fraction.tolist() == [0.4, 1.0, 0.6]
    thread.close()


def test_after_a_reconnection_another_device_is_told_nothing(bank: RegisterBank, server: BankServer) -> None:
    """It has the same registers, and another serial number."""
    thread = LoopThread("test")
    with DeviceGroup.of(_devices(server), thread) as group:
        group.command(Commands(limit_fraction=np.array([0.9, 0.9, 0.9])), 0.0)
        bank._registers.put(1, "1.SN", "another")
        for device in group.devices:
            thread.run(device.link.close())
        for now_s in (1.0, 2.0):
            failures = group.command_each(Commands(limit_fraction=np.array([0.4, 0.5, 0.6])), now_s)
            assert list(failures) == ["pv_1"]
            assert "answers at its address, not" in str(failures["pv_1"])
        assert bank.settings().limit_fraction.tolist() == [0.4, 0.9, 0.6]
    thread.close()


def test_after_a_reconnection_a_device_that_is_set_to_another_maximum_is_told_nothing(
    bank: RegisterBank, server: BankServer
) -> None:
    """Half of what was 10 kW would be 4 kW."""
    thread = LoopThread("test")
    with DeviceGroup.of(_devices(server), thread) as group:
        group.command(Commands(limit_fraction=np.array([0.9, 0.9, 0.9])), 0.0)
        bank._registers.put(1, "702.WMax", 8000.0)
        for device in group.devices:
            thread.run(device.link.close())
        for now_s in (1.0, 2.0):
            failures = group.command_each(Commands(limit_fraction=np.array([0.5, 0.5, 0.5])), now_s)
            assert list(failures) == ["pv_1"]
            assert "702.WMax was 10000 when it was discovered and is 8000" in str(failures["pv_1"])
        assert bank.settings().limit_fraction.tolist() == [0.5, 0.9, 0.5]
    thread.close()


def test_after_a_reconnection_a_battery_that_charges_more_slowly_is_told_powers_as_before() -> None:
    """704 WSet is in W; batteries change their rate of charging as they warm up and fill."""
    bank = equipped([Ratings("bat_1", 5e3, 5.5e3, 2420.0, 2000.0, 120.0, 1, p_max_charge_w=4e3, energy_wh=20e3)])
    thread = LoopThread("test")
    with BankServer(bank) as server, DeviceGroup({"bat_1": server.addresses[0]}, lease_s=60, thread=thread) as group:
        group.command(Commands(p_w=np.array([1000.0])), 0.0)
        bank._registers.put(0, "702.WChaRteMax", 3000.0)
        thread.run(group.devices[0].link.close())
        group.command(Commands(p_w=np.array([1200.0])), 1.0)
        assert bank.settings().p_w.tolist() == [1200.0]
    thread.close()


def test_after_a_silence_behind_a_gateway_another_device_is_told_nothing() -> None:
    """The gateway answers for who is not there (exception 11), so that no connection is lost."""
    banks = [equipped([Ratings(name, 10e3, 11e3, 4840.0, 4840.0, 240.0)]) for name in ("pv_1", "pv_2")]
    behind = {1: BankResponder(banks[0], 0)}
    nobody = bytes((0x83, 11))
    gateway = SimpleNamespace(respond=lambda unit, pdu: behind[unit].respond(unit, pdu) if unit in behind else nobody)
    half = Commands(limit_fraction=np.array([0.5]))
    with Server([Line(Tcp(port=0), gateway)]) as at, DeviceGroup({"pv_1": Address(at.endpoints[0])}) as group:
        group.command(half, 0.0)
        del behind[1]
        with pytest.raises(Unreachable, match="exception 11"):
            group.poll()
        behind[1] = BankResponder(banks[1], 0)
        with pytest.raises(Rejected, match=r"pv_2 answers at its address, not .*pv_1"):
            group.command(Commands(limit_fraction=np.array([0.4])), 1.0)
    assert banks[1].settings().limit_fraction.tolist() == [1.0]


def test_a_device_that_restarted_has_its_curve_again_at_once(bank: RegisterBank, server: BankServer) -> None:
    thread = LoopThread("test")
    curve = VoltVarCurve((0.9, 0.97, 1.03, 1.1), (0.25, 0.0, 0.0, -0.25), "va_max", 10.0)
    with DeviceGroup.of(_devices(server), thread) as group:
        group.command(Commands(limit_fraction=np.array([0.9, 0.9, 0.9]), volt_var=[curve] * 3), 0.0)
        own = bank._registers.number(1, "705.Crv.0.Pt.0.Var")
        assert own == 25.0
        for point, value in {"705.Crv.0.Pt.0.Var": 44.0, "705.Ena": 0, "704.WMaxLimPctEna": 0}.items():
            bank._registers.put(1, point, value)
        for device in group.devices:
            thread.run(device.link.close())
        group.command(Commands(limit_fraction=np.array([0.9, 0.9, 0.9])), 1.0)
        assert group.devices[1].lapses == 1
        held = [bank._registers.number(1, f"705.{name}") for name in ("Ena", "Crv.0.Pt.0.V", "Crv.0.Pt.0.Var")]
        assert held == [1.0, 90.0, 25.0]
    thread.close()


def test_the_units_of_one_bus_share_a_connection_and_keep_their_answers(bank: RegisterBank) -> None:
    units = Units({unit: BankResponder(bank, unit - 1) for unit in (1, 2, 3)})
    with Server([Line(Tcp(port=0), units)]) as bus:
        endpoint = bus.endpoints[0]
        shared = Connection(endpoint, SOON)
        links = [Link(f"pv_{unit}", Address(endpoint, unit), SOON, shared) for unit in (1, 2, 3)]
        thread = LoopThread("bus")
        with DeviceGroup.of([Device(link) for link in links], thread) as group:
            group.command(Commands(limit_fraction=np.array([0.1, 0.2, 0.3])), now_s=0.0)
            assert group.poll().p_w.tolist() == [1e3, 2e3, 3e3]
        assert shared.opened == 1
        thread.run(shared.close())
        thread.close()
    assert bank.settings().limit_fraction.tolist() == [0.1, 0.2, 0.3]
