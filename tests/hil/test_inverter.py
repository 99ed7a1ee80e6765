"""Devices commanded, verified and measured over real sockets."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from emulated import described

from derloop.errors import Rejected, Unreachable
from hil.emulator import adoption
from hil.emulator.access import Refusal
from hil.emulator.bank import RegisterBank
from hil.emulator.nameplate import Ratings
from hil.inverter.commands import Commands, VoltVarCurve
from hil.inverter.group import DeviceGroup
from hil.inverter.measurements import Measurements
from hil.modbus.endpoint import Address
from hil.modbus.thread import LoopThread
from hil.serving.fleet import BankServer
from hil.sunspec.image import Description

CURVE = VoltVarCurve((0.9, 0.98, 1.02, 1.1), (0.3, 0.0, 0.0, -0.3), response_s=10.0)
NAN = math.nan


class _Recording(RegisterBank):
    """Keeps what is written; some of it, on demand, is acknowledged and not done."""

    def __init__(self, descriptions: Sequence[Description]) -> None:
        super().__init__(descriptions)
        self.writes: list[tuple[int, list[str]]] = []
        self.ignores = False

    def write(self, device: int, address: int, registers: Sequence[int]) -> Refusal | None:
        end = address + len(registers)
        names = [p.name for p in self.maps[device].points.values() if address <= p.address < end]
        self.writes.append((device, names))
        return None if self.ignores else super().write(device, address, registers)


@pytest.fixture
def bank(ratings: tuple[Ratings, ...]) -> _Recording:
    return _Recording([described(each) for each in ratings])


def _devices(emulator: BankServer) -> dict[str, Address]:
    return dict(zip(("pv_1", "bat_1"), emulator.addresses, strict=True))


@pytest.fixture
def group(emulator: BankServer) -> Iterator[DeviceGroup]:
    with DeviceGroup(_devices(emulator), deadline_s=20.0) as opened:
        yield opened


def _limit(*fractions: float) -> Commands:
    return Commands(limit_fraction=np.array(fractions))


def test_nameplates_and_identities_are_what_the_devices_say(group: DeviceGroup) -> None:
    plates = group.nameplates()
    assert group.identities()[0] == "derloop emulated DER 1 pv_1"
    assert plates.p_max_w.tolist() == [10000.0, 5000.0]
    assert np.array_equal(plates.p_max_charge_w, [NAN, 4000.0], equal_nan=True)
    assert np.array_equal(plates.energy_wh, [NAN, 20000.0], equal_nan=True)
    assert plates.v_nominal_v == pytest.approx([415.69, 120.0], abs=0.01)


def test_nothing_measured_yet_is_nan(group: DeviceGroup) -> None:
    measured = group.poll()
    assert np.isnan(measured.table()).all()


def test_measurements_arrive_with_the_resolution_of_the_registers(bank: RegisterBank, group: DeviceGroup) -> None:
    bank.set_measurements(
        Measurements.of(
            np.array([7654.3, -2345.67]),
            np.array([-1000.4, 99.99]),
            np.array([239.876, 121.0]),
            f_hz=60.0123,
            soc_pct=np.array([NAN, 55.555]),
        )
    )
    measured = group.poll()
    assert measured.p_w == pytest.approx([7654.0, -2346.0])
    assert measured.q_var == pytest.approx([-1000.0, 100.0])
    assert measured.v_ln_v == pytest.approx([239.88, 121.0])
    assert np.isnan(measured.v_ll_v).tolist() == [False, True]
    assert measured.f_hz == pytest.approx([60.012, 60.012])
    assert np.array_equal(measured.soc_pct, [NAN, 55.56], equal_nan=True)


def test_a_limit_is_applied_and_nan_turns_it_off(bank: RegisterBank, group: DeviceGroup) -> None:
    group.command(_limit(0.4, NAN), now_s=0.0)
    assert bank.settings().limit_fraction.tolist() == [0.4, 1.0]
    group.command(_limit(NAN, NAN), now_s=1.0)
    assert bank.settings().limit_fraction.tolist() == [1.0, 1.0]


def test_setpoints_are_applied_with_their_signs(bank: RegisterBank, group: DeviceGroup) -> None:
    group.command(Commands(p_w=np.array([NAN, -2500.0]), q_var=np.array([-1500.0, 700.0])), now_s=0.0)
    settings = bank.settings()
    assert np.array_equal(settings.p_w, [NAN, -2500.0], equal_nan=True)
    assert settings.q_var.tolist() == [-1500.0, 700.0]


def test_setpoints_in_percent_serve_devices_without_absolute_ones() -> None:
    description = dict(described(Ratings("x", 5e3, 5e3, 2e3, 1e3, 240.0, p_max_charge_w=5e3)))
    absolute = ("WSet", "VarSet")
    description[704] = {k: v for k, v in description[704].items() if k not in absolute}
    bank = RegisterBank([description])
    with BankServer(bank) as server, DeviceGroup({"x": server.addresses[0]}, deadline_s=20.0) as group:
        group.command(Commands(p_w=np.array([-1250.0]), q_var=np.array([-500.0])), now_s=0.0)
        assert bank.settings().p_w.tolist() == [-1250.0]
        assert bank.settings().q_var.tolist() == [-500.0]


def test_what_is_left_out_stays_as_it_is(bank: RegisterBank, group: DeviceGroup) -> None:
    group.command(_limit(0.4, 0.5), now_s=0.0)
    group.command(Commands(q_var=np.array([100.0, 100.0])), now_s=1.0)
    assert bank.settings().limit_fraction.tolist() == [0.4, 0.5]


def test_a_rounded_command_is_reported_as_it_was_applied(group: DeviceGroup) -> None:
    group.command(_limit(0.123456, NAN), now_s=0.0)
    assert group.devices[0].applied["704.WMaxLimPct"] == 12.35


def test_only_changes_are_written(bank: _Recording, group: DeviceGroup) -> None:
    group.command(_limit(0.4, NAN), now_s=0.0)
    assert bank.writes == [(0, ["704.WMaxLimPctEna", "704.WMaxLimPct"])]
    group.command(_limit(0.40000001, NAN), now_s=1.0)
    assert len(bank.writes) == 1


def test_the_reversion_timer_is_armed_before_the_function_is_enabled(bank: _Recording, emulator: BankServer) -> None:
    with DeviceGroup(_devices(emulator), lease_s=60, deadline_s=20.0) as group:
        group.command(_limit(0.4, NAN), now_s=0.0)
    assert [names for _, names in bank.writes] == [
        ["704.WMaxLimPctRvrtTms"],
        ["704.WMaxLimPctEna", "704.WMaxLimPct"],
    ]


def test_a_lease_is_renewed_at_half_its_time_and_ends_when_it_is_not(bank: _Recording, emulator: BankServer) -> None:
    with DeviceGroup(_devices(emulator), lease_s=60, deadline_s=20.0) as group:
        written = []
        for now_s in range(0, 100, 10):
            group.command(_limit(0.4, NAN), now_s=now_s)
            written.append(len(bank.writes))
            bank.advance(10.0)
        assert written == [2, 2, 2, 3, 3, 3, 4, 4, 4, 5]
        assert bank.settings().limit_fraction[0] == 0.4
    bank.advance(60.0)
    assert bank.settings().limit_fraction[0] == 1.0


def test_a_command_that_outlived_its_lease_is_given_again_in_full(bank: RegisterBank, emulator: BankServer) -> None:
    with DeviceGroup(_devices(emulator), lease_s=60, deadline_s=20.0) as group:
        group.command(_limit(0.4, NAN), now_s=0.0)
        bank.advance(3600.0)
        assert bank.settings().limit_fraction[0] == 1.0
        group.command(_limit(0.4, NAN), now_s=3600.0)
        assert bank.settings().limit_fraction[0] == 0.4


def test_a_volt_var_curve_is_adopted_verified_and_not_adopted_twice(bank: _Recording, group: DeviceGroup) -> None:
    group.command(Commands(volt_var=[CURVE, None]), now_s=0.0)
    settings = bank.settings()
    assert settings.volt_var_on.tolist() == [True, False]
    assert settings.volt_var_v_pu[0, :4].tolist() == [0.9, 0.98, 1.02, 1.1]
    assert settings.volt_var_q_var[0, :4] == pytest.approx([3300.0, 0.0, 0.0, -3300.0])
    assert settings.volt_var_response_s[0] == 10.0
    written = len(bank.writes)
    group.command(Commands(volt_var=[CURVE, None]), now_s=1.0)
    assert len(bank.writes) == written
    group.command(Commands(volt_var=[None, None]), now_s=2.0)
    assert not bank.settings().volt_var_on.any()


def test_a_curve_with_more_points_than_the_device_has_is_rejected(group: DeviceGroup) -> None:
    long = VoltVarCurve(tuple(0.9 + 0.01 * i for i in range(9)), (0.0,) * 9)
    with pytest.raises(Rejected, match=r"705\.Crv\.0\.Pt\.8\.V"):
        group.command(Commands(volt_var=[long, None]), now_s=0.0)


def test_a_curve_that_the_device_does_not_adopt_is_rejected(
    bank: _Recording, group: DeviceGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adoption, "is_valid_curve", lambda *_: False)
    with pytest.raises(Rejected, match=r"did not adopt 705 Crv 2: 705\.AdptCrvRslt is 2"):
        group.command(Commands(volt_var=[CURVE, None]), now_s=0.0)
    assert not bank.settings().volt_var_on.any()


def test_a_curve_that_falls_cannot_be_written_down() -> None:
    with pytest.raises(ValueError, match="must not fall"):
        VoltVarCurve((1.1, 0.9), (0.1, -0.1))


def test_a_write_that_is_acknowledged_and_not_done_is_rejected(bank: _Recording, group: DeviceGroup) -> None:
    bank.ignores = True
    with pytest.raises(Rejected, match=r"704\.WMaxLimPct was written 40\.0 and reads 100\.0") as failure:
        group.command(_limit(0.4, NAN), now_s=0.0)
    assert failure.value.device == "pv_1"


def test_a_write_that_the_device_refuses_is_rejected(group: DeviceGroup) -> None:
    with pytest.raises(Rejected, match="exception 3"):
        group.command(_limit(1.2, NAN), now_s=0.0)


def test_every_failing_device_is_told_of(group: DeviceGroup) -> None:
    with pytest.raises(Rejected) as failure:
        group.command(_limit(1.2, 1.2), now_s=0.0)
    assert failure.value.device == "pv_1"
    assert "bat_1" in failure.value.__notes__[0]


def test_a_device_without_a_function_rejects_commands_for_it() -> None:
    bank = RegisterBank([{1: {"Mn": "x"}, 701: {"W_SF": 0}, 705: {"NPt": 2, "NCrv": 1, "V_SF": 0}}])
    with BankServer(bank) as server, DeviceGroup({"x": server.addresses[0]}, deadline_s=20.0) as group:
        group.command(_limit(NAN), now_s=0.0)
        with pytest.raises(Rejected, match="takes no limit_fraction; it takes volt_var"):
            group.command(_limit(0.5), now_s=0.0)


def test_a_unit_that_is_not_there_is_unreachable_at_the_start(emulator: BankServer) -> None:
    address = emulator.addresses[0]
    with pytest.raises(Unreachable, match="unit 7"):
        DeviceGroup({"x": Address(address.endpoint, unit=7)}, deadline_s=20.0).start()


def test_a_device_that_goes_away_is_unreachable_by_name(emulator: BankServer, group: DeviceGroup) -> None:
    group.poll()
    emulator.stop()
    with pytest.raises(Unreachable, match="Connection refused") as failure:
        group.poll()
    assert failure.value.device == "pv_1"


def test_group_and_emulator_can_share_a_thread(bank: RegisterBank) -> None:
    before = threading.active_count()
    thread = LoopThread("shared")
    server = BankServer(bank, thread=thread)
    server.start()
    group = DeviceGroup(_devices(server), deadline_s=20.0, thread=thread)
    group.start()
    group.command(_limit(0.4, 0.3), now_s=0.0)
    assert threading.active_count() == before + 1
    assert bank.settings().limit_fraction.tolist() == [0.4, 0.3]
    group.close()
    server.stop()
    thread.close()


def test_after_a_lost_connection_the_settings_are_read_again(bank: _Recording) -> None:
    thread = LoopThread("shared")
    with BankServer(bank, thread=thread) as server, DeviceGroup(_devices(server), thread=thread) as group:
        group.command(_limit(0.4, 0.3), now_s=0.0)
        bank.write(0, bank.maps[0]["704.WMaxLimPctEna"].address, [0])
        thread.run(group.devices[0].link.close())
        group.command(_limit(0.4, 0.3), now_s=1.0)
        assert bank.settings().limit_fraction.tolist() == [0.4, 0.3]
        assert group.traffic.connects == 3
    thread.close()


def test_commands_for_another_number_of_devices_are_refused(group: DeviceGroup) -> None:
    with pytest.raises(ValueError, match="'limit_fraction' has 3 values for 2 devices"):
        group.command(_limit(0.1, 0.2, 0.3), now_s=0.0)


def _lock_step(steps: int) -> list[bytes]:
    """Return the registers after every step of a closed loop in which a limit follows the voltage."""
    bank = RegisterBank([described(Ratings(f"pv_{i}", 10e3, 11e3, 4840.0, 4840.0, 240.0)) for i in range(3)])
    registers = []
    with (
        BankServer(bank) as server,
        DeviceGroup({f"pv_{i}": a for i, a in enumerate(server.addresses)}, lease_s=3, deadline_s=20.0) as group,
    ):
        v_v = np.array([240.0, 241.0, 242.0])
        for step in range(steps):
            group.command(Commands(limit_fraction=np.clip((260.0 - v_v) / 20.0, 0.0, 1.0)), now_s=step)
            settings = server.bank.settings()
            p_w = settings.limit_fraction * settings.p_max_w
            server.bank.set_measurements(Measurements.of(p_w, 0.1 * p_w, 235.0 + p_w / 700.0, f_hz=60.0))
            v_v = group.poll().v_ln_v
            server.bank.advance(1.0)
            registers.append(b"".join(bank.image(i).tobytes() for i in range(3)))
    return registers


def test_identical_runs_give_identical_registers() -> None:
    first = _lock_step(12)
    assert first == _lock_step(12)
    assert len(set(first)) > 3


def test_traffic_is_counted_over_all_devices(group: DeviceGroup) -> None:
    before = group.traffic
    group.poll()
    after = group.traffic
    assert after.exchanges - before.exchanges == 3
    assert after.connects == 2
    assert after.registers_written == 0


def test_a_hundred_devices_fit_one_process() -> None:
    ratings = [Ratings(f"pv_{i}", 1e3 * (i + 1), 1.1e3 * (i + 1), 440.0 * (i + 1), 440.0, 240.0) for i in range(100)]
    bank = RegisterBank([described(each) for each in ratings])
    with (
        BankServer(bank) as server,
        DeviceGroup({f"pv_{i}": a for i, a in enumerate(server.addresses)}, deadline_s=60.0) as group,
    ):
        p_w = np.linspace(500.0, 50e3, 100)
        bank.set_measurements(Measurements.of(p_w, np.zeros(100), np.full(100, 240.0)))
        assert group.poll().p_w == pytest.approx(p_w, rel=1e-3)


def test_points_are_read_and_written_by_name(bank: RegisterBank, group: DeviceGroup) -> None:
    group.write("pv_1", {"703.ESDlyTms": 60, "703.ESVHi": 105.5, "703.ES": "DISABLED"})
    names = ("703.ESDlyTms", "703.ESVHi", "703.ES")
    assert [list(held.values()) for held in group.read(*names)] == [[60, 105.5, 0], [300, 105.0, 1]]
    assert bank.settings().in_service.tolist() == [False, True]


def test_controls_and_curves_are_adopted_by_name(group: DeviceGroup) -> None:
    group.adopt("bat_1", "711", {"DbOf": 0.1, "KOf": 0.04})
    group.adopt("bat_1", "709", {"MustTrip.Pt.1.Hz": 56.0, "MustTrip.Pt.1.Tms": 0.5})
    names = ("711.Ctl.0.DbOf", "711.Ctl.0.KOf", "709.Crv.0.MustTrip.Pt.1.Hz", "709.Crv.0.MustTrip.Pt.1.Tms")
    assert list(group.read(*names)[1].values()) == [0.1, 0.04, 56.0, 0.5]


def test_what_somebody_else_has_written_is_seen_before_writing(bank: RegisterBank, group: DeviceGroup) -> None:
    group.write("pv_1", {"703.ESDlyTms": 60})
    bank.write(0, bank.maps[0]["703.ESDlyTms"].address, [0, 90])
    group.write("pv_1", {"703.ESDlyTms": 60})
    assert group.read("703.ESDlyTms")[0] == {"703.ESDlyTms": 60}


def test_a_name_that_is_not_is_rejected_with_a_hint(group: DeviceGroup) -> None:
    with pytest.raises(Rejected, match=r"did you mean '703\.ESDlyTms'"):
        group.write("pv_1", {"703.ESDlyTm": 60})
    with pytest.raises(ValueError, match="did you mean 'pv_1'"):
        group.write("pv_11", {"703.ESDlyTms": 60})


def test_a_value_out_of_the_standards_range_is_rejected(group: DeviceGroup) -> None:
    with pytest.raises(Rejected, match="exception 3"):
        group.write("pv_1", {"703.ESDlyTms": 601})
