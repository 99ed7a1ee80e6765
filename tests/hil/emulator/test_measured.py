"""What is measured shows in every model that has a place for it, with one truth behind."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from banked import get, put
from conforming import BATTERY, INVERTER
from emulated import equipped
from street import TERMINALS, V_LN_V, battery, context

from derloop.kind import Bus
from hil.emulator.bank import RegisterBank
from hil.emulator.nameplate import Ratings
from hil.emulator.profile import Profile
from hil.fleet.model import connections
from hil.fleet.registered import RegisteredFleet
from hil.inverter.measurements import Measurements

ONE_PHASE = Ratings("pv_1", 5e3, 5e3, 2200.0, 2200.0, 240.0, 1)


def show(bank: RegisterBank, p_w: float, q_var: float, **more: float) -> None:
    zero = np.zeros(len(bank))
    bank.set_measurements(Measurements.of(zero + p_w, zero + q_var, zero + 240.0, f_hz=60.01, **more))


def test_power_voltage_and_frequency_are_the_same_in_all_models() -> None:
    bank = equipped([INVERTER], models="all")
    show(bank, 7500.0, -1200.0)
    assert [get(bank, f"{m}.W") for m in (701, 103, 113)] == [7500, 7500, 7500.0]
    assert [get(bank, f"{m}") for m in ("701.Var", "103.VAr", "113.VAr")] == [-1200] * 3
    assert get(bank, "203.W") == -7500
    assert get(bank, "203.VAR") == 1200
    assert [get(bank, f"{m}.DCW") for m in (103, 714)] == [7500, 7500]
    assert get(bank, "160.module.0.DCW") == 7500
    assert get(bank, "714.Prt.0.DCV") == 800.0
    assert get(bank, "103.Hz") == pytest.approx(60.01)
    apparent = math.hypot(7500, 1200)
    assert get(bank, "701.A") == pytest.approx(apparent / 240, abs=0.005)
    assert get(bank, "103.AphB") == pytest.approx(apparent / 720, abs=0.005)
    assert get(bank, "701.PF") == pytest.approx(7500 / apparent, abs=1e-4)


def test_currents_and_voltages_of_a_fault_are_shown_as_far_as_their_registers_reach() -> None:
    """5 kW at 1.2 V are 4167 A, and 480 V are twice the nominal voltage: a run ended at a fault near its devices."""
    bank = equipped([INVERTER, INVERTER], models="all")
    bank.set_measurements(Measurements.of(np.full(2, 5000.0), np.zeros(2), np.array([1.2, 480.0]), f_hz=60.0))
    assert [get(bank, name, 0) for name in ("701.LNV", "701.A", "113.A")] == [1.2, 327.67, pytest.approx(5000 / 1.2)]
    assert [get(bank, name, 1) for name in ("701.LNV", "701.LLV", "701.A")] == [480.0, 655.34, 10.42]
    assert [get(bank, "701.W", device) for device in (0, 1)] == [5000, 5000]


@pytest.mark.parametrize(("p_w", "q_var", "sign"), [(4, 3, -1), (-4, 3, 1), (-4, -3, -1), (4, -3, 1)])
def test_power_factors_have_their_signs(p_w: float, q_var: float, sign: float) -> None:
    bank = equipped([BATTERY], models="all")
    show(bank, 1000 * p_w, 1000 * q_var, soc_pct=50.0)
    assert get(bank, "701.PF") == pytest.approx(math.copysign(0.8, p_w))
    assert get(bank, "103.PF") == pytest.approx(sign * 80.0)


def test_energies_are_counted_by_direction_and_quadrant() -> None:
    bank = equipped([BATTERY], models="all")
    for p_w, q_var, hours in (
        (2000.0, 500.0, 1.0),
        (-1000.0, 400.0, 0.5),
        (-1000.0, -400.0, 2.0),
        (3000.0, -200.0, 1.0),
    ):
        show(bank, p_w, q_var, soc_pct=50.0)
        bank.advance(3600 * hours)
    show(bank, 0.0, 0.0, soc_pct=50.0)
    assert [get(bank, f"701.{n}") for n in ("TotWhInj", "TotWhAbs", "TotVarhInj", "TotVarhAbs")] == [
        5000,
        2500,
        700,
        1000,
    ]
    assert [get(bank, f"122.ActVArhQ{i}") for i in (1, 2, 3, 4)] == [500, 200, 800, 200]
    assert [get(bank, f"203.TotWh{n}") for n in ("Exp", "Imp")] == [5000, 2500]
    assert [get(bank, f"203.TotVArh{n}") for n in ("ImpQ1", "ImpQ2", "ExpQ3", "ExpQ4")] == [800, 200, 500, 200]
    assert get(bank, "103.WH") == 5000
    assert [get(bank, f"714.{n}") for n in ("DCWhInj", "DCWhAbs")] == [5000, 2500]


def test_a_counter_of_32_bits_begins_again() -> None:
    bank = equipped([INVERTER], models="all")
    show(bank, 10000.0, 0.0)
    bank.advance(3600 * 2**32 / 10000 + 36)
    show(bank, 10000.0, 0.0)
    assert get(bank, "103.WH") == 100
    assert get(bank, "701.TotWhInj") == 2**32 + 100


@pytest.mark.parametrize(
    ("p_w", "soc_pct", "status"), [(100.0, 50.0, 3), (-100.0, 50.0, 4), (0.0, 100.0, 5), (0.0, 0.0, 2), (0.0, 50.0, 6)]
)
def test_a_storage_says_what_it_does(p_w: float, soc_pct: float, status: int) -> None:
    bank = equipped([BATTERY], models="all")
    show(bank, p_w, 0.0, soc_pct=soc_pct)
    assert [get(bank, f"{m}.ChaSt") for m in (124, 802)] == [status, status]
    assert [get(bank, name) for name in ("124.ChaState", "802.SoC", "713.SoC")] == [soc_pct] * 3
    assert get(bank, "713.WHAvail") == pytest.approx(200 * soc_pct)
    assert (get(bank, "122.PVConn"), get(bank, "122.StorConn")) == (0, 7)


def test_status_says_which_functions_are_on() -> None:
    bank = equipped([INVERTER], models="legacy")
    show(bank, 0.0, 0.0)
    assert get(bank, "122.StActCtl") == 0
    put(bank, {"123.WMaxLim_Ena": 1, "123.OutPFSet_Ena": 1})
    show(bank, 0.0, 0.0)
    assert bank.maps[0]["122.StActCtl"].flags(get(bank, "122.StActCtl")) == ("FixedW", "FixedPF")
    assert get(bank, "122.ECPConn") == 1
    show(bank, 0.0, 0.0, state=7.0)
    assert (get(bank, "122.ECPConn"), get(bank, "103.St")) == (0, 8)


def test_a_device_that_has_restarted_measures_what_it_did() -> None:
    bank = equipped([INVERTER, INVERTER], models="all")
    show(bank, 7500.0, -1200.0, alarms=256.0)
    bank.advance(3600.0)
    show(bank, 7500.0, -1200.0, alarms=256.0)
    bank.restart(0)
    assert [get(bank, name) for name in ("701.W", "103.VAr", "701.TotWhInj", "701.Alrm")] == [7500, -1200, 7500, 0]
    assert [get(bank, name, 1) for name in ("701.W", "701.Alrm")] == [7500, 256]


def test_without_voltage_no_current_flows() -> None:
    bank = equipped([INVERTER], models="all")
    zero = np.zeros(1)
    bank.set_measurements(Measurements.of(zero, zero, zero, f_hz=60.0))
    assert [get(bank, name) for name in ("701.A", "103.A", "103.AphA", "203.A")] == [0.0] * 4


@pytest.mark.parametrize(("phases", "between"), [((2,), ()), ((1, 3), ("AB",)), ((1, 2, 3), ("AB", "BC", "CA"))])
def test_a_fleet_shows_voltages_between_the_phases_that_it_has(
    phases: tuple[int, ...], between: tuple[str, ...]
) -> None:
    terminals = tuple(replace(terminal, phases=phases) for terminal in TERMINALS)
    fleet = RegisteredFleet(battery(), terminals, connections(terminals, context()), [Profile(models="all")] * 2)
    fleet.start()
    expected = pytest.approx(V_LN_V * 3**0.5, abs=1.0)
    assert fleet.bank.number(0, "701.LLV") == (expected if between else None)
    assert fleet.bank.number(0, "701.ACType") == len(phases) - 1
    for pair in ("AB", "BC", "CA"):
        for name in (f"{100 + len(phases)}.PPVph{pair}", f"{200 + len(phases)}.PhVph{pair}"):
            assert fleet.bank.number(0, name) == (expected if pair in between else None), name


@pytest.mark.parametrize(("phases", "ac_type", "current_a"), [((1, 2), 0, 24.04), ((1, 2, 3), 2, 41.64)])
def test_a_device_where_nothing_earths_the_feeder_says_how_it_stands_between_phases(
    phases: tuple[int, ...], ac_type: int, current_a: float
) -> None:
    """Between two it has a single phase, of their voltage, and no neutral; its current is 100 kVA / 4160 V."""
    between = replace(context(), feeder=SimpleNamespace(buses={"b": Bus("b", (1, 2, 3), 2.4018, earthed=False)}))
    terminals = tuple(replace(terminal, phases=phases) for terminal in TERMINALS)
    fleet = RegisteredFleet(battery(), terminals, connections(terminals, between), [Profile(models="all")] * 2)
    fleet.start()
    rated = np.full(2, 100.0)
    fleet._show({"p_kw": rated, "q_kvar": 0 * rated, "soc_pu": rated / 200}, {"v_pu": np.ones(2)})
    single, (bank, v_ll_v) = ac_type == 0, (fleet.bank, pytest.approx(4160.0, abs=1.0))
    assert (get(bank, "701.ACType"), get(bank, "702.VNom")) == (ac_type, v_ll_v)
    assert get(bank, "701.A") == pytest.approx(current_a, abs=0.01)
    assert get(bank, "701.LNV" if single else "701.LLV") == v_ll_v
    assert get(bank, "101.PhVphA" if single else "103.PPVphAB") == v_ll_v
    assert (get(bank, "701.LLV") is None) == single


def test_one_phase_has_no_others() -> None:
    bank = equipped([ONE_PHASE], models="all")
    show(bank, 2400.0, 0.0)
    assert [get(bank, f"101.{n}") for n in ("A", "AphA", "AphB", "PhVphA", "PPVphAB")] == [
        10.0,
        10.0,
        None,
        240.0,
        None,
    ]
    assert get(bank, "201.PhVphA") == 240.0


def test_nameplates_say_the_same() -> None:
    bank = equipped([BATTERY], models="all")
    pairs = {
        **{"120.WRtg": "702.WMaxRtg", "120.VARtg": "702.VAMaxRtg", "120.VArRtgQ1": "702.VarMaxInjRtg"},
        **{"120.MaxChaRte": "702.WChaRteMaxRtg", "120.WHRtg": "713.WHRtg", "802.WHRtg": "713.WHRtg"},
    }
    assert {old: get(bank, old) for old in pairs} == {old: get(bank, new) for old, new in pairs.items()}
    assert get(bank, "120.VArRtgQ4") == -2000.0
    assert (get(bank, "120.DERTyp"), get(bank, "802.AHRtg")) == (82, 25.0)
    assert get(bank, "120.ARtg") == pytest.approx(5500 / 240, abs=0.01)
