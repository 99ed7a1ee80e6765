"""A virtual power plant that shaves the feeder's peak."""

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from pydantic import ValidationError

from derloop.kind import Bus, Context, PlaceError
from federates.control.vpp import Vpp, VppSettings, share
from federates.der.battery import BatteryFleet, BatterySettings

S = 10**9
MINUTE = 60 * S
LABELS = {"batteries": ("b0", "b1"), "inverters": ("i0",)}


def vpp(members: tuple[str, ...] = ("batteries", "inverters"), labels: Any = LABELS, **service: Any) -> Vpp:
    settings = {"services": [{"kind": "peak-shaving", "limit_kw": 100.0, **service}], "members": members}
    start = datetime(2025, 7, 15, tzinfo=UTC)
    context = Context("vpp", Path(), start, MINUTE, 86400 * S, 7, labels=labels)
    return Vpp(VppSettings.model_validate(settings), context)


def measured(
    head_kw: float,
    p_kw: Any = 0.0,
    p_max_kw: Any = (10.0, 30.0, 20.0),
    p_min_kw: Any = (-20.0, -20.0, -40.0),
    soc: Any = 0.5,
) -> dict[str, np.ndarray]:
    inputs = {"grid.head_kw": np.array([head_kw]), "grid.age_s": np.zeros(1)}
    told = {"p_kw": p_kw, "p_max_kw": p_max_kw, "p_min_kw": p_min_kw, "soc_pu": soc, "stored_kwh": -1.0, "age_s": 0.0}
    for port, values in told.items():
        both = np.broadcast_to(np.asarray(values, float), (3,))
        inputs |= {f"batteries.{port}": both[:2], f"inverters.{port}": both[2:]}
    return inputs


def answer(control: Vpp, inputs: dict[str, np.ndarray]) -> Any:
    """What a plant does at its second step; it rests at the first."""
    control.step(0, measured(0.0))
    return control.step(MINUTE, inputs)


def setpoints(outputs: Any) -> list[float]:
    return [*outputs["batteries.p_set_kw"].tolist(), *outputs["inverters.p_set_kw"].tolist()]


def test_need_is_shared_in_proportion_to_what_each_can_inject() -> None:
    out = answer(vpp(margin_kw=0.0, gain=0.0), measured(130.0))
    assert_allclose(setpoints(out), [5.0, 15.0, 10.0])
    assert_allclose(out["target_kw"], [30.0])
    assert out["limit_kw"].tolist() == [100.0]


def test_what_members_already_inject_is_not_taken_for_less_load() -> None:
    out = answer(vpp(margin_kw=0.0, gain=0.0), measured(100.0, p_kw=[5.0, 15.0, 10.0]))
    assert_allclose(setpoints(out), [5.0, 15.0, 10.0])


def test_nobody_is_asked_for_more_than_it_can_inject() -> None:
    out = answer(vpp(margin_kw=0.0), measured(500.0))
    assert_allclose(setpoints(out), [10.0, 30.0, 20.0])


def test_aim_is_below_the_limit_by_the_margin() -> None:
    assert answer(vpp(margin_kw=5.0, gain=0.0), measured(100.0))["target_kw"][0] == pytest.approx(5.0)
    assert answer(vpp(gain=0.0), measured(100.0))["target_kw"][0] == pytest.approx(1.0)  # 1 % of the limit


def test_members_recharge_up_to_their_threshold_and_make_no_new_peak() -> None:
    out = answer(vpp(recharge_below_kw=80.0), measured(60.0))
    assert_allclose(setpoints(out), [-5.0, -5.0, -10.0])
    again = answer(vpp(recharge_below_kw=80.0), measured(80.0, p_kw=[-5.0, -5.0, -10.0]))
    assert_allclose(setpoints(again), [-5.0, -5.0, -10.0])
    assert_allclose(setpoints(answer(vpp(recharge_below_kw=80.0), measured(-500.0))), [-20.0, -20.0, -40.0])


def test_between_threshold_and_limit_members_rest() -> None:
    assert setpoints(answer(vpp(recharge_below_kw=80.0), measured(90.0))) == [0.0, 0.0, 0.0]
    assert setpoints(vpp().start()) == [0.0, 0.0, 0.0]


def test_devices_outside_their_state_of_charge_rest() -> None:
    control: dict[str, Any] = {
        "reserve_soc_pu": 0.3,
        "recharge_to_soc_pu": 0.8,
        "recharge_below_kw": 80.0,
        "margin_kw": 0.0,
        "gain": 0,
    }
    high, low = measured(120.0, soc=[0.3, 0.5, 0.9]), measured(60.0, soc=[0.3, 0.5, 0.9])
    assert_allclose(setpoints(answer(vpp(**control), high)), [0.0, 12.0, 8.0])
    assert_allclose(setpoints(answer(vpp(**control), low)), [-10.0, -10.0, 0.0])


def test_capabilities_of_the_wrong_sign_are_none() -> None:
    """An empty battery draws its standby: what it can inject is a little below zero."""
    out = answer(vpp(margin_kw=0.0, gain=0.0), measured(110.0, p_max_kw=[-0.1, 10.0, 10.0]))
    assert_allclose(setpoints(out), [-0.1, 5.05, 5.05])


def head_after(control: Vpp, load_kw: list[float], does: float, most_kw: float = 60.0) -> list[float]:
    """Heads of a feeder whose three members inject the share `does` of what they are asked for."""
    p, heads = np.zeros(3), [load_kw[0]]
    for k, load in enumerate(load_kw):
        can = most_kw / 3
        asked = setpoints(control.step(k * MINUTE, measured(heads[-1], p, [can] * 3, [-can] * 3)))
        p = does * np.array(asked)
        heads.append(load - float(p.sum()))
    return heads[1:]


def test_integrator_makes_up_for_members_that_do_less_than_asked() -> None:
    heads = head_after(vpp(margin_kw=0.0), [130.0] * 60, does=0.8)
    assert heads[0] > 104.0
    assert heads[-1] == pytest.approx(100.0, abs=1e-3)
    assert head_after(vpp(margin_kw=0.0, gain=0.0), [130.0] * 60, does=0.8)[-1] == pytest.approx(106.0)


def test_integrator_does_not_wind_up_while_all_is_in_use() -> None:
    load = [300.0] * 50 + [110.0] * 50
    heads = head_after(vpp(margin_kw=0.0, hold_s=0.0), load, does=1.0)
    assert heads[49] == pytest.approx(240.0)
    assert min(heads[51:]) > 98.0
    assert heads[-1] == pytest.approx(100.0, abs=1e-3)


def test_integrator_is_empty_once_the_peak_is_over() -> None:
    control = vpp(margin_kw=0.0, hold_s=0.0)
    head_after(control, [130.0] * 20 + [90.0], does=0.8)
    out = control.step(100 * MINUTE, measured(90.0))
    assert out["target_kw"][0] == 0.0
    assert control.step(101 * MINUTE, measured(110.0))["target_kw"][0] == pytest.approx(10.0)


def test_highest_load_of_late_decides() -> None:
    control = vpp(margin_kw=0.0, gain=0.0, hold_s=120.0)
    answer(control, measured(110.0))
    targets = [control.step((2 + k) * MINUTE, measured(104.0))["target_kw"][0] for k in range(4)]
    assert targets == pytest.approx([10.0, 10.0, 4.0, 4.0])


def test_members_rest_at_the_first_step_before_which_nothing_was_measured() -> None:
    control = vpp()
    for head_kw in (500.0, 0.0):
        assert setpoints(control.step(0, measured(head_kw))) == [0.0, 0.0, 0.0]
    assert control.step(MINUTE, measured(500.0))["target_kw"][0] == pytest.approx(60.0)


def test_second_step_for_an_instant_starts_from_the_last_instant() -> None:
    once, twice = vpp(), vpp()
    for k in range(6):
        twice.step(k * MINUTE, measured(300.0))
        twice.step(k * MINUTE, measured(20.0))
        inputs = measured(110.0 + k)
        assert setpoints(once.step(k * MINUTE, inputs)) == setpoints(twice.step(k * MINUTE, inputs))


@given(
    st.floats(-500, 500),
    st.lists(st.floats(0, 50), min_size=3, max_size=3),
    st.lists(st.floats(-50, 0), min_size=3, max_size=3),
    st.lists(st.floats(0, 1), min_size=3, max_size=3),
)
def test_setpoints_are_within_capability_and_of_one_sign(
    head: float, p_max: list[float], p_min: list[float], soc: list[float]
) -> None:
    p = np.array(setpoints(answer(vpp(), measured(head, 0.0, p_max, p_min, soc))))
    assert (p <= np.array(p_max)).all()
    assert (p >= np.array(p_min)).all()
    assert (p >= 0).all() or (p <= 0).all()
    if (p < 0).any():
        assert head - p.sum() <= 80.0 + 1e-9


def test_share_of_nothing_is_nothing() -> None:
    assert share(5.0, np.zeros(2)).tolist() == [0.0, 0.0]
    assert share(-5.0, np.ones(2)).tolist() == [0.0, 0.0]
    assert share(0.0, np.full(2, 5e-324)).tolist() == [0.0, 0.0]


def test_a_day_with_batteries_stays_under_the_limit_and_recharges() -> None:
    """A peak of 130 kW over a base of 60 kW; 40 batteries with 200 kW and 400 kWh; losses of 2 %."""
    feeder = SimpleNamespace(buses={"671": Bus("671", (1, 2, 3), 2.4)}, loads={})
    start = datetime(2025, 7, 15, tzinfo=UTC)
    context = Context("batteries", Path(), start, MINUTE, 86400 * S, 7, feeder=feeder)
    settings = {"at": {"count": 40, "on": ["671"]}, "rated_kva": 5.0, "energy_kwh": 10.0, "mode": "commanded"}
    fleet = BatteryFleet(BatterySettings.model_validate(settings), context)
    control = vpp(("batteries",), {"batteries": fleet.interface.outputs["p_kw"].labels}, recharge_below_kw=80.0)
    values, head, heads = dict(fleet.start()), 60.0, []
    for k in range(1440):
        load = 60.0 + 70.0 * np.exp(-(((k - 1140) / 90.0) ** 2))
        told = ("p_kw", "soc_pu", "p_max_kw", "p_min_kw", "stored_kwh")
        inputs = {f"batteries.{port}": values[port] for port in told} | {"batteries.age_s": np.zeros(40)}
        seen = {"grid.head_kw": np.array([head]), "grid.age_s": np.zeros(1), **inputs}
        asked = control.step(k * MINUTE, seen)["batteries.p_set_kw"]
        values = dict(fleet.step(k * MINUTE, {"v_pu": np.ones(40), "p_set_kw": asked}))
        head = 1.02 * (load - float(values["p_kw"].sum()))
        heads.append(head)
    assert max(heads) < 100.0
    assert max(heads[:900]) < 82.0
    assert float(values["soc_pu"].min()) > 0.1


def test_ports_are_wired_by_their_names() -> None:
    interface = vpp().interface
    assert interface.inputs["grid.head_kw"].size == 1
    assert {port.arrival for port in interface.inputs.values()} == {"before"}
    assert {name: (port.unit, port.labels) for name, port in interface.inputs.items() if "inverters" in name} == {
        "inverters.p_kw": ("kW", ("i0",)),
        "inverters.soc_pu": ("pu", ("i0",)),
        "inverters.p_max_kw": ("kW", ("i0",)),
        "inverters.p_min_kw": ("kW", ("i0",)),
        "inverters.stored_kwh": ("kWh", ("i0",)),
        "inverters.age_s": ("s", ("i0",)),
    }
    assert {name: port.labels for name, port in interface.outputs.items()} == {
        "batteries.p_set_kw": ("b0", "b1"),
        "inverters.p_set_kw": ("i0",),
        "target_kw": ("vpp",),
        "silent": ("vpp",),
        "limit_kw": ("vpp",),
        "baseline_kw": ("vpp",),
    }


def test_member_that_is_not_there_is_refused() -> None:
    with pytest.raises(PlaceError, match="did you mean 'batteries'") as error:
        vpp(("inverters", "battery"))
    assert error.value.problems[0][0] == ("members", 1)
    with pytest.raises(PlaceError, match="twice"):
        vpp(("inverters", "inverters"))


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"recharge_below_kw": 100.0}, "new peak"),
        ({"limit_kw": 0.0}, "limit_kw"),
        ({"kind": "peak-shavin"}, "peak-shaving"),
        ({"reads": "head_kw"}, "reads"),
        ({"gain": 2.0}, "gain"),
    ],
)
def test_impossible_service_is_refused(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        vpp(**wrong)


def test_the_baseline_is_what_the_feeder_would_have_drawn_at_the_last_instant() -> None:
    """Head 130 kW with members that inject 20 kW: 150 kW without them. At the first step nothing is measured yet."""
    control, seen = vpp(), measured(130.0, p_kw=[5.0, 10.0, 5.0])
    assert control.step(0, seen)["baseline_kw"].tolist() == [0.0]
    assert control.step(MINUTE, seen)["baseline_kw"].tolist() == [150.0]


def test_limit_and_load_of_something_other_than_the_feeder_are_told_as_its_own() -> None:
    """What has the plant's own name as its label is drawn beside the feeder's head, and told as its peak."""
    outputs = vpp(reads="depot.net_kw").interface.outputs
    assert outputs["baseline_kw"].labels == outputs["limit_kw"].labels == ("depot.net_kw",)
    assert vpp().interface.outputs["baseline_kw"].labels == ("vpp",)
