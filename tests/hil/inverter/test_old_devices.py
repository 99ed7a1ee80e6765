"""Devices whose SunSpec models are older than 701, over real sockets: the same orders, the same questions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from emulated import equipped

from derloop.errors import Rejected
from hil.emulator.bank import RegisterBank
from hil.emulator.nameplate import Ratings
from hil.inverter.commands import Commands, VoltVarCurve
from hil.inverter.device import Device
from hil.inverter.group import DeviceGroup
from hil.inverter.lease import NO_LEASE, Lease, heartbeat, reversion
from hil.inverter.measurements import Measurements
from hil.modbus.endpoint import Timing
from hil.modbus.link import Link
from hil.serving.fleet import BankServer
from hil.sunspec.image import Description
from hil.sunspec.layout import definition

NAN = math.nan
PV = Ratings("pv_1", 10e3, 11e3, 4840.0, 4840.0, 240.0)
BATTERY = Ratings("bat_1", 5e3, 5.5e3, 2420.0, 2000.0, 120.0, 1, p_max_charge_w=4e3, energy_wh=20e3)


def _group(server: BankServer, lease: Lease = NO_LEASE, rounding_pct: float = 0.5) -> DeviceGroup:
    timing = Timing(deadline_s=20.0)
    links = [Link(f"old_{index}", address, timing) for index, address in enumerate(server.addresses)]
    return DeviceGroup.of([Device(link, lease, rounding_pct=rounding_pct) for link in links])


@pytest.fixture(params=["legacy", "legacy-float"])
def bank(request: pytest.FixtureRequest) -> RegisterBank:
    return equipped([PV, BATTERY], models=request.param)


@pytest.fixture
def group(bank: RegisterBank) -> Iterator[DeviceGroup]:
    with BankServer(bank) as server, _group(server) as opened:
        yield opened


def test_old_models_say_what_new_ones_would(bank: RegisterBank, group: DeviceGroup) -> None:
    bank.set_measurements(
        Measurements.of(
            np.array([7654.0, -2346.0]),
            np.array([-1000.0, 100.0]),
            np.array([239.9, 121.0]),
            f_hz=60.01,
            state=np.array([3.0, 7.0]),
            soc_pct=np.array([NAN, 55.5]),
        )
    )
    measured, plate = group.poll(), group.nameplates()
    assert measured.p_w == pytest.approx([7654.0, -2346.0], abs=1.0)
    assert measured.q_var == pytest.approx([-1000.0, 100.0], abs=1.0)
    assert measured.v_ln_v == pytest.approx([239.9, 121.0], abs=0.1)
    assert measured.f_hz == pytest.approx([60.01, 60.01], abs=0.005)
    assert measured.state.tolist() == [3.0, 7.0]
    assert np.isnan(measured.soc_pct).tolist() == [True, False]
    assert measured.soc_pct[1] == pytest.approx(55.5, abs=0.5)
    assert plate.p_max_w == pytest.approx([10e3, 5e3])
    assert plate.q_max_absorbed_var == pytest.approx([4840.0, 2000.0])
    assert plate.p_max_charge_w[1] == pytest.approx(4e3)


def test_no_new_model_is_there_to_be_asked(group: DeviceGroup) -> None:
    for device in group.devices:
        assert not [block.model_id for block in device.map.blocks if block.model_id > 700 and block.model_id != 802]


def test_a_limit_and_a_reactive_power_go_through_model_123(bank: RegisterBank, group: DeviceGroup) -> None:
    group.command(Commands(limit_fraction=np.array([0.4, NAN]), q_var=np.array([-968.0, 242.0])), now_s=0.0)
    settings = bank.settings()
    assert settings.limit_fraction.tolist() == [0.4, 1.0]
    assert settings.q_var == pytest.approx([-968.0, 242.0], rel=1e-3)
    assert [held["123.VArPct_Mod"] for held in group.read("123.VArPct_Mod")] == [2, 2]
    group.command(Commands(limit_fraction=np.array([NAN, NAN]), q_var=np.array([NAN, NAN])), now_s=1.0)
    assert bank.settings().limit_fraction.tolist() == [1.0, 1.0]
    assert np.isnan(bank.settings().q_var).all()


@pytest.mark.parametrize(("p_w", "pair"), [(1500.0, (30.0, -37.5)), (-1000.0, (-20.0, 25.0)), (0.0, (0.0, 0.0))])
def test_a_power_of_a_storage_is_where_its_two_limits_meet(p_w: float, pair: tuple[float, float]) -> None:
    bank = equipped([BATTERY], models="legacy")
    with BankServer(bank) as server, _group(server) as group:
        group.command(Commands(p_w=np.array([p_w])), now_s=0.0)
        names = ("124.OutWRte", "124.InWRte", "124.StorCtl_Mod")
        assert tuple(group.read(*names)[0].values()) == (*pair, 3)
        group.command(Commands(p_w=np.array([NAN])), now_s=1.0)
        assert group.read("124.StorCtl_Mod")[0] == {"124.StorCtl_Mod": 0}


def test_an_inverter_without_a_storage_takes_no_power_and_says_what_it_takes() -> None:
    bank, refusal = (
        equipped([PV], models="legacy"),
        pytest.raises(Rejected, match="takes no p_w; it takes limit_fraction"),
    )
    with BankServer(bank) as server, _group(server) as group, refusal:
        group.command(Commands(p_w=np.array([100.0])), now_s=0.0)


def test_the_timers_of_old_models_are_leases_too(bank: RegisterBank) -> None:
    with BankServer(bank) as server, _group(server, reversion(60)) as group:
        for now_s in (0.0, 20.0, 40.0):
            group.command(Commands(limit_fraction=np.array([0.4, 0.4])), now_s)
            bank.advance(20.0)
        assert bank.settings().limit_fraction.tolist() == [0.4, 0.4]
    bank.advance(60.0)
    assert bank.settings().limit_fraction.tolist() == [1.0, 1.0]


def test_a_heartbeat_holds_a_command_and_its_end_lets_go() -> None:
    bank = equipped([PV], heartbeat_timeout_s=30.0)
    with BankServer(bank) as server, _group(server, heartbeat(30)) as group:
        for now_s in range(0, 60, 10):
            group.command(Commands(limit_fraction=np.array([0.4])), now_s)
            bank.advance(10.0)
            assert bank.settings().limit_fraction.tolist() == [0.4]
        assert group.read("715.ControllerHb")[0]["715.ControllerHb"] == 3  # at 0, 20 and 40 s
    bank.advance(31.0)
    assert bank.settings().limit_fraction.tolist() == [1.0]


def test_each_function_is_served_by_the_model_that_is_there() -> None:
    """704 without a limit, and 123 with one; 701 without a frequency, and 103 with one."""
    old: Description = {
        1: {"Mn": "mixed"},
        701: {"W": 500, "W_SF": 0},
        103: {"W": 499, "W_SF": 0, "Hz": 50.01, "Hz_SF": -2, "PhVphA": 230, "PhVphB": 233, "V_SF": 0},
        702: {"WMax": 1000, "W_SF": 0, "VarMaxInj": 500, "VarMaxAbs": 400, "Var_SF": 0},
        704: {"VarSetEna": 0, "VarSetMod": 4, "VarSet": 0, "VarSet_SF": 0},
        123: {"WMaxLimPct": 100, "WMaxLim_Ena": 0, "WMaxLimPct_SF": 0},
    }
    with BankServer(RegisterBank([old])) as server, _group(server) as group:
        functions = group.devices[0].dialect.functions
        assert {meaning: each.terms[0].point for meaning, each in functions.items()} == {
            "limit_fraction": "123.WMaxLimPct",
            "q_var": "704.VarSet",
        }
        measured = group.poll()
        assert (measured.p_w.tolist(), measured.f_hz.tolist()) == ([500.0], [50.01])
        assert measured.v_ln_v.tolist() == [231.5]  # of the phases that are there


def test_a_coarse_step_is_refused_when_it_matters_and_told_when_it_does_not() -> None:
    bank = equipped([PV], models="legacy", scale_factors={"123.WMaxLimPct_SF": 0})
    with BankServer(bank) as server:
        with _group(server) as group:
            group.command(Commands(limit_fraction=np.array([0.663])), now_s=0.0)
            assert group.devices[0].applied["123.WMaxLimPct"] == 66.0
        refusal = pytest.raises(Rejected, match=r"limit_fraction 0\.665 was asked, 0\.66 is the nearest")
        with _group(server, rounding_pct=0.2) as group, refusal:
            group.command(Commands(limit_fraction=np.array([0.665])), now_s=0.0)
    assert bank.settings().limit_fraction.tolist() == [0.66]


CURVE = VoltVarCurve((0.9, 0.98, 1.02, 1.1), (0.3, 0.0, 0.0, -0.3), response_s=10.0)


PLACES = [f"126.curve.{{}}.{name}{i}" for i in range(1, 5) for name in ("V", "VAr")]


def test_a_volt_var_curve_of_model_126_is_converted_verified_and_written_once() -> None:
    bank = equipped([PV], models="legacy")
    with BankServer(bank) as server, _group(server) as group:
        group.command(Commands(volt_var=[CURVE]), now_s=0.0)
        names = [place.format(1) for place in PLACES]
        held = group.read(*names, "126.ModEna", "126.ActCrv", "126.curve.1.DeptRef", "126.curve.1.RmpTms")[0]
        # 0.3 of 11 kVA is 33 % of 10 kW; the time to 95 % is 1.301 of that to 90 %; curve 1 is active and left alone
        assert list(held.values()) == [90, 33, 98, 0, 102, 0, 110, -33, 1, 2, 1, 13]
        settings = bank.settings()
        assert settings.volt_var_on.tolist() == [True]
        assert settings.volt_var_q_var[0, :4] == pytest.approx([3300.0, 0.0, 0.0, -3300.0])
        written = group.traffic.registers_written
        group.command(Commands(volt_var=[CURVE]), now_s=1.0)
        assert group.traffic.registers_written == written
        group.command(Commands(volt_var=[None]), now_s=2.0)
        assert not bank.settings().volt_var_on.any()


def test_another_curve_goes_to_another_place_while_the_first_is_followed() -> None:
    bank = equipped([PV], models="legacy")
    other = VoltVarCurve((0.92, 0.99, 1.01, 1.08), (0.2, 0.0, 0.0, -0.2), response_s=10.0)
    with BankServer(bank) as server, _group(server) as group:
        active = []
        for now_s, curve in enumerate((CURVE, other, CURVE)):
            group.command(Commands(volt_var=[curve]), now_s)
            active.append(group.read("126.ActCrv")[0]["126.ActCrv"])
            assert bank.settings().volt_var_v_pu[0, :4] == pytest.approx(curve.v_pu)
    assert active == [2, 1, 2]


def test_a_curve_whose_steps_are_too_coarse_is_refused() -> None:
    bank = equipped([PV], models="legacy", scale_factors={"126.V_SF": 0})
    fine = VoltVarCurve((0.9, 0.984, 1.02, 1.1), CURVE.q_pu)
    refusal = pytest.raises(Rejected, match=r"126\.curve\.0\.V2 98\.4 was asked, 98 is the nearest")
    with BankServer(bank) as server, _group(server) as group, refusal:
        group.command(Commands(volt_var=[fine]), now_s=0.0)
    assert not bank.settings().volt_var_on.any()


def test_the_alarm_bits_of_old_and_new_models_are_the_same() -> None:
    def bits(model: int, point: str) -> dict[str, int]:
        found = next(p for p in definition(model)["points"] if p["name"] == point)
        return {symbol["name"].replace("_", ""): symbol["value"] for symbol in found["symbols"]}

    old, new = bits(103, "Evt1"), bits(701, "Alrm")
    assert {name: value for name, value in old.items() if name in new} == {n: v for n, v in new.items() if n in old}
    assert sorted(old.values()) == sorted(value for value in new.values() if value < 16)


def test_the_states_of_old_models_count_from_one() -> None:
    states = [
        [symbol["value"] for symbol in next(p for p in definition(model)["points"] if p["name"] == name)["symbols"]]
        for model, name in ((103, "St"), (701, "InvSt"))
    ]
    assert [old - new for old, new in zip(*states, strict=True)] == [1] * 8
    assert all(after == before + 1 for before, after in pairwise(states[1]))


def test_a_scale_factor_that_changes_while_it_runs_scales_the_same_answer() -> None:
    """As SolarEdge and Fronius do; pysunspec2 once kept the old one (sunspec/pysunspec2 issue 42)."""
    bank = equipped([PV, BATTERY], models="legacy")
    bank.set_measurements(Measurements.of(np.array([7650.0, 2340.0]), np.zeros(2), np.array([240.0, 120.0])))
    with BankServer(bank) as server, _group(server) as group:
        assert group.poll().p_w.tolist() == [7650.0, 2340.0]
        before = group.devices[0].map.value("103.W_SF", group.devices[0].image)
        assert isinstance(before, int)
        bank._registers.put(0, "103.W_SF", before + 1)
        assert group.poll().p_w.tolist() == [76500.0, 2340.0]  # the register is as it was, and means ten times as much
        bank._registers.put(0, "103.W_SF", before)
        assert group.poll().p_w.tolist() == [7650.0, 2340.0]


def test_the_scale_factor_of_a_state_of_charge_that_changes_scales_the_same_answer() -> None:
    """802 declares none of its scale factors static, as models from 701 on do (sunspec/models, model_802.json)."""
    bank = equipped([BATTERY], models="legacy")
    bank.set_measurements(Measurements.of(*np.array([[0.0], [0.0], [120.0]]), soc_pct=np.array([8.5])))
    with BankServer(bank) as server, _group(server) as group:
        assert group.poll().soc_pct.tolist() == [8.5]
        bank._registers.put(0, "802.SoC_SF", -1)
        assert group.poll().soc_pct.tolist() == [85.0]


def test_scale_factors_that_a_device_lacks_when_it_is_found_count_once_they_are_there() -> None:
    """As inverters that sleep have none at night; beyond ten a scale factor is none."""
    bank = equipped([PV], models="legacy")
    bank.set_measurements(Measurements.of(*np.array([[7650.0], [0.0], [240.0]])))
    scale = bank.maps[0]["103.W_SF"].address
    words = bank.read(0, scale, 1)
    bank._registers.put_words(0, scale, [0x8000])
    with BankServer(bank) as server, _group(server) as group:
        assert math.isnan(group.poll().p_w[0])
        bank._registers.put_words(0, scale, words)
        assert group.poll().p_w.tolist() == [7650.0]
        bank._registers.put_words(0, scale, [11])
        assert math.isnan(group.poll().p_w[0])


def test_a_command_that_another_scale_factor_would_multiply_is_rejected_and_taken_back(bank: RegisterBank) -> None:
    with BankServer(bank) as server, _group(server) as group:
        scale = group.devices[0].map["123.WMaxLimPct_SF"]
        bank._registers.put(0, scale.name, -1)
        with pytest.raises(Rejected, match=r"123\.WMaxLimPct_SF must not change, was -2 and reads -1"):
            group.command(Commands(limit_fraction=np.array([0.4, NAN])), now_s=0.0)
        assert group.read("123.WMaxLim_Ena")[0] == {"123.WMaxLim_Ena": 0}
