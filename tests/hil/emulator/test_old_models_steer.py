"""What is written to an old device does to its model what adjusting the model does; no wire in between."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from banked import get, put
from street import TERMINALS, Fleet, S, battery, context, pv

from derloop.contract import FloatArray
from hil.emulator.access import Refusal
from hil.emulator.profile import Profile
from hil.fleet.model import connections
from hil.fleet.registered import RegisteredFleet

HALF_STEP = 0.0051
"""101 to 103 and 701 show P and Q of these devices in steps of 10 W."""


class Old:
    """A fleet of devices that have the old models alone, and the same model driven directly."""

    def __init__(self, build: Callable[[], Fleet], models: str = "legacy") -> None:
        profile = Profile.model_validate({"models": models})
        stand = connections(TERMINALS, context())
        self.direct, self.fleet = build(), RegisteredFleet(build(), TERMINALS, stand, [profile] * 2)
        self.fleet.start()
        self.direct.start()
        self.bank, self._at_s = self.fleet.bank, -1

    def put(self, **values: float) -> Refusal | None:
        """Write points of model 123 to the first device."""
        return put(self.bank, {f"123.{name}": value for name, value in values.items()})

    def adjust(self, function: str, on: bool = True, **numbers: float) -> None:
        """Adjust the first device of the direct model."""
        own, as_it_is = self.direct.inverters, self.direct.inverters.numbers(function)
        arrays = {name: np.array([number, as_it_is[name][1]]) for name, number in numbers.items()}
        own.adjust(function, np.array([on, own.has(function)]), **arrays)

    def step(self, times: int = 1, **inputs: float) -> FloatArray:
        """Step both; return P and Q of the first old device, kW and kvar, once they are found equal."""
        for _ in range(times):
            self._at_s += 1
            given = self._inputs(**inputs)
            expected, found = self.direct.step(self._at_s * S, given), self.fleet.step(self._at_s * S, given)
            for name in ("p_kw", "q_kvar"):
                assert found[name] == pytest.approx(expected[name], abs=HALF_STEP), (name, self._at_s)
            self.bank.advance(1.0)
        return np.array([found["p_kw"][0], found["q_kvar"][0]])

    def _inputs(self, v_pu: float = 1.0, f_hz: float = 60.0, p_set_kw: float = 0.0) -> dict[str, FloatArray]:
        v, wanted = np.full(2, v_pu), self.direct.interface.inputs
        found = {"v_pu": v, "v_low_pu": v, "v_high_pu": v, "f_hz": np.array([f_hz])}
        found |= {"irradiance_wm2": np.full(2, 900.0), "p_set_kw": np.full(2, p_set_kw)}
        return {name: value for name, value in found.items() if name in wanted}


@pytest.mark.parametrize("models", ["legacy", "legacy-float"])
def test_a_limit_curtails_until_it_reverts(models: str) -> None:
    old = Old(pv, models)
    full = old.step()[0]
    old.put(WMaxLimPct_RvrtTms=5, WMaxLimPct=40.0, WMaxLim_Ena=1)
    old.adjust("active_power_limit", p_max_pu=0.4)
    assert old.step(5)[0] == pytest.approx(40.0, abs=HALF_STEP)
    assert get(old.bank, f"{103 if models == 'legacy' else 113}.W") == pytest.approx(40e3, abs=5)
    old.adjust("active_power_limit", on=False)
    assert old.step()[0] == pytest.approx(full, abs=HALF_STEP)


@pytest.mark.parametrize(("factor", "injects"), [(-0.95, 1.0), (0.95, 0.0)])
def test_a_power_factor_has_the_sign_of_its_impedance(factor: float, injects: float) -> None:
    old = Old(pv)
    old.step()
    old.put(OutPFSet=factor, OutPFSet_Ena=1)
    old.adjust("constant_pf", pf=0.95, injects=injects)
    p_kw, q_kvar = old.step()
    assert q_kvar == pytest.approx((1 if injects else -1) * p_kw * np.tan(np.arccos(0.95)), abs=0.01)
    assert get(old.bank, "103.PF") == pytest.approx(100 * factor, abs=0.01)


def test_vars_in_percent_are_held() -> None:
    old = Old(pv)
    old.put(VArPct_Mod=2, VArMaxPct=-50.0, VArPct_Ena=1)
    old.adjust("constant_q", q_pu=-0.22)
    assert old.step()[1] == pytest.approx(-22.0, abs=HALF_STEP)


def test_a_device_is_disconnected_and_comes_back() -> None:
    old = Old(pv)
    old.step()
    old.put(Conn=0)
    old.direct.inverters.set_permit_service([False, True])
    assert old.step()[0] == 0.0
    assert (get(old.bank, "122.ECPConn"), get(old.bank, "103.St")) == (0, 8)
    old.put(Conn=1)
    old.direct.inverters.set_permit_service(True)
    old.direct.inverters.adjust("enter_service")
    assert old.step(310)[0] > 0.0


def test_a_storage_is_told_to_charge_and_to_discharge_by_its_limits() -> None:
    fleet = RegisteredFleet(battery(), TERMINALS, connections(TERMINALS, context()), [Profile(models="legacy")] * 2)
    fleet.start()
    powers = []
    for number, (mode, out_pct, in_pct) in enumerate(
        [(0, 100.0, 100.0), (3, -30.0, 30.0), (3, 20.0, -20.0), (1, 100.0, 0.0)]
    ):
        put(fleet.bank, {"124.OutWRte": out_pct, "124.InWRte": in_pct, "124.StorCtl_Mod": mode})
        v = np.ones(2)
        inputs = {"v_pu": v, "v_low_pu": v, "v_high_pu": v, "f_hz": np.array([60.0]), "p_set_kw": np.zeros(2)}
        known = {name: value for name, value in inputs.items() if name in fleet.model.interface.inputs}
        powers.append(fleet.step(number * S, known)["p_kw"].tolist())
        fleet.bank.advance(1.0)
    assert powers == [pytest.approx([0.0, 0.0]), pytest.approx([-30, 0]), pytest.approx([20, 0]), pytest.approx([0, 0])]


@pytest.mark.parametrize("limit", ["702.WChaRteMax", "124.WChaMax"])
def test_a_storage_keeps_to_the_rates_that_it_is_set_to(limit: str) -> None:
    fleet = RegisteredFleet(battery(), TERMINALS, connections(TERMINALS, context()), [Profile(models="all")] * 2)
    fleet.start()
    assert put(fleet.bank, {"704.WSet": -60e3, "704.WSetEna": 1}) is None
    assert put(fleet.bank, {limit: 20e3, "702.WDisChaRteMax": 30e3}) is None
    assert fleet.bank.settings().p_w[0] == -20e3
    assert put(fleet.bank, {"704.WSetMod": 0, "704.WSetPct": 100.0}) is None
    assert fleet.bank.settings().p_w[0] == 30e3
    v = np.ones(2)
    inputs = {"v_pu": v, "v_low_pu": v, "v_high_pu": v, "f_hz": np.array([60.0]), "p_set_kw": np.zeros(2)}
    assert fleet.step(0, inputs)["p_kw"].tolist() == pytest.approx([30.0, 0.0])
    assert put(fleet.bank, {limit: 100e3, "704.WSetPct": -100.0}) is None
    assert fleet.bank.settings().p_w[0] == -100e3


def test_a_storage_that_takes_no_setpoint_limits_its_discharging_alone() -> None:
    fleet = RegisteredFleet(pv(), TERMINALS, connections(TERMINALS, context()), [Profile(models="legacy")] * 2)
    fleet.storage = battery().storage
    fleet.start()
    assert put(fleet.bank, {"124.OutWRte": 30.0, "124.StorCtl_Mod": 2}) is None
    v = np.ones(2)
    inputs = {"v_pu": v, "v_low_pu": v, "v_high_pu": v, "f_hz": np.array([60.0]), "irradiance_wm2": np.full(2, 900.0)}
    known = {name: value for name, value in inputs.items() if name in fleet.model.interface.inputs}
    assert fleet.step(0, known)["p_kw"][0] == pytest.approx(30.0)
    for refused in ({"124.StorCtl_Mod": 1}, {"124.StorCtl_Mod": 3}, {"124.OutWRte": -10.0}, {"124.WChaMax": 20e3}):
        assert put(fleet.bank, refused) is Refusal.VALUE
