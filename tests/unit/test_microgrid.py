"""A microgrid's control by itself: what it tells whom, in each state, and when it hears nothing."""

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from pydantic import ValidationError

from derloop.kind import Context, PlaceError, Terminal
from federates.control.microgrid import Microgrid, MicrogridSettings
from federates.control.microgrid.dispatch import Offer, Rated, Sources, stores_beside_grid
from federates.control.microgrid.modes import Mode

MINUTE = 60 * 10**9
GROUPS = [{"fleet": "wards", "priority": 1, "critical": True}, {"fleet": "depot", "priority": 2}]
SHEDDABLE = SimpleNamespace(takes=("connected",))
FORMING = SimpleNamespace(
    takes=("p_set_kw", "v_set_pu", "run"), f_nominal_hz=60, p_droop_pu=0.01, v_set_pu=1.0, soc_initial_pu=0.5
)
LIVE = {"grid.switch": 1.0, "grid.switch_kw": 90.0, "grid.sides_pu": [1.0, 1.0], "grid.sides_hz": [60.0, 60.0]}
LIVE |= {"grid.angle_deg": 0.0, "grid.battery.f_hz": 60.0, "grid.battery.v_pu": 1.0, "grid.battery.p_kw": 0.0}
ISLAND = LIVE | {"grid.switch": 0.0, "grid.switch_kw": 0.0, "grid.sides_pu": [0.0, 1.0], "grid.sides_hz": [0.0, 60.0]}
ISLAND |= {"grid.battery.p_kw": 90.0}
DEAD = ISLAND | {"grid.sides_pu": [0.0, 0.0], "grid.sides_hz": [0.0, 0.0], "grid.battery.f_hz": 0.0}
DEAD |= {"grid.battery.p_kw": 0.0, "grid.wards.solved_kw": 0.0, "grid.depot.solved_kw": 0.0, "battery.forms": 0.0}
RETURNED = ISLAND | {"grid.sides_pu": [1.0, 1.0], "grid.sides_hz": [60.0, 60.0]}


def context(step_ns: int = MINUTE, **settings: Any) -> Context:
    units = (Terminal("battery_0", "b", (1, 2, 3), 200.0, forms=True),)
    loads = {name: (Terminal(name, "b", (1, 2, 3), 100.0, draws=True, element=name),) for name in ("wards", "depot")}
    terminals = {"battery": units, **loads}
    island = SimpleNamespace(switch="head", is_told=True)
    known = {"grid": SimpleNamespace(island=island), "battery": FORMING, "wards": SHEDDABLE, "depot": SHEDDABLE}
    labels = {name: tuple(t.label for t in found) for name, found in terminals.items()}
    start = datetime(2025, 7, 15, tzinfo=UTC)
    return Context(
        "mg", Path(), start, step_ns, 1440 * MINUTE, 7, terminals=terminals, labels=labels, settings=known | settings
    )


class Control:
    """A microgrid of one store of 200 kVA and 400 kWh, stepped minute by minute."""

    def __init__(self, step_ns: int = MINUTE, **settings: Any) -> None:
        document = {"storage": ["battery"], "loads": GROUPS, "reserve_soc_pu": 0.5, **settings}
        self.control = Microgrid(MicrogridSettings.model_validate(document), context(step_ns))
        self.count, self.step_ns = 0, step_ns
        self.told: dict[str, np.ndarray] = {}

    def hears(self, picture: dict[str, Any], **values: Any) -> dict[str, np.ndarray]:
        """Step once, with what was measured at the last instant; return what it told."""
        usual = {"battery.soc_pu": 0.5, "battery.p_least_kw": -1000.0, "battery.p_most_kw": 1000.0}
        usual |= {"battery.stored_kwh": 200.0, "battery.forms": 1.0, "wards.demand_kw": 60.0, "depot.demand_kw": 30.0}
        usual |= {"grid.wards.solved_kw": 60.0, "grid.depot.solved_kw": 30.0, **picture}
        given = usual | {name.replace("__", "."): value for name, value in values.items()}
        ports = self.control.interface.inputs
        inputs = {k: np.broadcast_to(np.asarray(given.get(k, 0.0), float), (p.size,)) for k, p in ports.items()}
        self.told = {port: v.copy() for port, v in self.control.step(self.count * self.step_ns, inputs).items()}
        self.count += 1
        return self.told

    def said(self, port: str) -> float:
        return float(self.told[port][0])

    @property
    def mode(self) -> Mode:
        return Mode(int(self.said("mode")))


def test_beside_the_grid_the_store_is_led_to_its_reserve_and_rests_there() -> None:
    """400 kWh, at 0.45: 20 kWh to go, at half of 200 kVA at most. At 0.499: 0.4 kWh in a minute is 24 kW, 0.9 of it."""
    of = Control()
    of.hears(LIVE, battery__soc_pu=0.45, battery__stored_kwh=180.0)
    assert of.said("battery.p_set_kw") == -100.0
    of.hears(LIVE, battery__soc_pu=0.499, battery__stored_kwh=199.6)
    assert of.said("battery.p_set_kw") == pytest.approx(-0.9 * 24.0, rel=1e-6)
    of.hears(LIVE)
    assert of.said("battery.p_set_kw") == pytest.approx(0.0, abs=1e-9)
    assert of.said("grid.closed") == of.said("battery.run") == 1.0


def test_empty_store_without_a_reserve_rests() -> None:
    of = Control(reserve_soc_pu=0.0)
    of.hears(LIVE, battery__soc_pu=0.0, battery__stored_kwh=0.0)
    assert of.said("battery.p_set_kw") == 0.0


def test_engine_with_an_empty_heat_store_rests_beside_the_grid() -> None:
    """Its 0 kWh, at the 1 that stands for its state of charge, were divided by: a warning in the run's terminal."""
    document = {"storage": ["battery"], "engines": ["engine"], "loads": GROUPS, "reserve_soc_pu": 0.5}
    settings = MicrogridSettings.model_validate(document)
    rated = Rated(np.array([200.0, 100.0]), np.zeros(2), np.ones(2), np.array([True, False]))
    told = dict.fromkeys(Sources._fields, np.zeros(2))
    told |= {"soc_pu": np.array([0.45, 1.0]), "stored_kwh": np.array([180.0, 0.0]), "least_kw": np.full(2, -200.0)}
    offer = Offer(float("nan"), 0.5, 90.0, 1 / 60)
    assert stores_beside_grid(settings, rated, Sources(**told), offer).tolist() == [-100.0, 0.0]


def test_warning_raises_the_reserve() -> None:
    of = Control(warnings=[{"begins_s": 60, "lasts_s": 600, "reserve_soc_pu": 0.9}])
    assert of.hears(LIVE)["battery.p_set_kw"][0] == pytest.approx(0.0, abs=1e-9)
    assert of.hears(LIVE)["battery.p_set_kw"][0] == -100.0


def test_price_charges_and_discharges_within_what_is_drawn() -> None:
    """At 0.4 it would give 100 kW; 90 kW are drawn, so no more than that, for nothing goes out."""
    control = Control(economics={"reads": "retail.price_per_kwh", "charge_below": 0.1, "discharge_above": 0.3})
    full = {"battery__soc_pu": 0.8, "battery__stored_kwh": 320.0}
    assert control.hears(LIVE, **full, retail__price_per_kwh=0.4)["battery.p_set_kw"][0] == 90.0
    assert control.hears(LIVE, **full, retail__price_per_kwh=0.2)["battery.p_set_kw"][0] == pytest.approx(0.0)
    assert control.hears(LIVE, **full, retail__price_per_kwh=0.1)["battery.p_set_kw"][0] == -100.0
    exports = Control(economics={"reads": "retail.price_per_kwh", "discharge_above": 0.3, "exports": True})
    assert exports.hears(LIVE, **full, retail__price_per_kwh=0.4)["battery.p_set_kw"][0] == 100.0


def test_price_that_is_too_old_is_none() -> None:
    control = Control(economics={"reads": "retail.price_per_kwh", "discharge_above": 0.3, "exports": True})
    full = {"battery__soc_pu": 0.8, "battery__stored_kwh": 320.0, "retail__price_per_kwh": 0.4}
    given = [control.hears(LIVE, **full, retail__age_s=age_s)["battery.p_set_kw"][0] for age_s in (900.0, 901.0)]
    assert given == [100.0, 0.0]


def test_lost_grid_is_told_to_the_switch_and_power_is_set_to_what_the_island_draws() -> None:
    of = Control()
    of.hears(LIVE)
    of.hears(ISLAND)
    assert of.mode is Mode.ISLANDED
    assert of.said("grid.closed") == 0.0
    assert of.said("battery.p_set_kw") == pytest.approx(90.0)


def test_full_island_is_made_faster() -> None:
    """0.3 Hz at 1 % of 60 Hz and 200 kVA are 100 kW of P_0."""
    of = Control(surplus_hz=0.3)
    of.hears(ISLAND, battery__soc_pu=0.95)
    assert of.said("battery.p_set_kw") == pytest.approx(90.0 + 0.3 / 0.003)


def test_group_that_goes_is_taken_into_account_at_once() -> None:
    of = Control(loads=[GROUPS[0], {**GROUPS[1], "shed_below_soc_pu": 0.6}])
    of.hears(ISLAND)
    assert of.said("depot.connected") == 0.0
    assert of.said("battery.p_set_kw") == pytest.approx(60.0)


def test_collapsed_island_is_started_again_with_loads_by_priority() -> None:
    """Everything goes, the store rests and is cleared, starts after two minutes, and groups come back one by one."""
    of = Control(black_start={"after_s": 120}, shedding={"every_s": 180, "cold_load_pu": 0.5})
    of.hears(ISLAND)
    of.hears(DEAD, battery__trip_cause=1.0)
    assert of.mode is Mode.DEAD
    assert [of.said(p) for p in ("battery.run", "wards.connected", "depot.connected")] == [0.0, 0.0, 0.0]
    of.hears(DEAD, battery__trip_cause=1.0)
    assert of.said("battery.run") == 0.0
    of.hears(DEAD)
    assert of.said("battery.run") == 1.0
    assert of.said("wards.connected") == 0.0
    alone = ISLAND | {"grid.battery.p_kw": 0.0}
    served = [(of.hears(alone)["wards.connected"][0], of.said("depot.connected")) for _ in range(7)]
    assert served == [(0, 0), (0, 0), (1, 0), (1, 0), (1, 0), (1, 1), (1, 1)]


def test_start_that_does_not_come_is_begun_anew() -> None:
    of = Control(black_start={"after_s": 0, "within_s": 120})
    of.hears(ISLAND)
    runs = [of.hears(DEAD)["battery.run"][0] for _ in range(7)]
    assert runs == [0, 1, 1, 0, 1, 1, 0]


def test_dead_island_is_taken_back_by_the_grid_that_has_returned() -> None:
    of = Control(reconnection={"after_s": 60})
    of.hears(ISLAND)
    back = DEAD | {"grid.sides_pu": [1.0, 0.0]}
    assert [of.hears(back)["grid.closed"][0] for _ in range(2)] == [0.0, 1.0]


def test_island_reconnects_once_the_grid_stayed_and_both_sides_agree() -> None:
    """300 s of grid; then 2 % too much voltage is led down, and the switch closes with 0.02 Hz."""
    of = Control(reconnection={"after_s": 300, "slip_hz": 0.02, "rated_kva": 2000})
    of.hears(ISLAND)
    for _ in range(5):
        of.hears(RETURNED)
        assert of.mode is Mode.ISLANDED
    of.hears(RETURNED, grid__sides_pu=[1.0, 1.05])
    assert of.mode is Mode.SYNCHRONISING
    assert of.said("grid.closed") == 0.0
    assert of.said("battery.v_set_pu") == pytest.approx(0.95)
    assert of.said("battery.p_set_kw") == pytest.approx(90.0 + 0.02 / 0.003)
    of.hears(RETURNED, grid__sides_hz=[60.0, 60.02], grid__angle_deg=90.0)
    assert of.said("grid.closed") == of.said("sync") == 1.0  # 0.02 Hz turn once in 50 s, within the step
    of.hears(LIVE)
    assert of.mode is Mode.CONNECTED


@pytest.mark.parametrize(
    "off", [{"grid__sides_hz": [60.0, 60.11]}, {"grid__sides_pu": [1.0, 1.031]}, {"grid__angle_deg": 10.5}]
)
def test_island_that_is_not_synchronous_does_not_reconnect(off: dict[str, Any]) -> None:
    of = Control(reconnection={"after_s": 0, "rated_kva": 2000})
    of.hears(ISLAND)
    of.hears(RETURNED, **off)
    assert of.mode is Mode.SYNCHRONISING
    assert of.said("grid.closed") == 0.0
    assert of.hears(RETURNED)["grid.closed"][0] == 1.0


def test_planned_island_leads_the_switch_to_zero_before_it_opens() -> None:
    of = Control(planned=[{"begins_s": 180, "lasts_s": 120}], prepare_s=120)
    of.hears(LIVE)
    assert of.mode is Mode.CONNECTED
    assert of.hears(LIVE)["battery.p_set_kw"][0] == pytest.approx(90.0)
    assert of.mode is Mode.PREPARING
    assert of.hears(LIVE, grid__switch_kw=1.0, grid__battery__p_kw=89.0)["grid.closed"][0] == 1.0  # it is not time yet
    assert of.hears(LIVE, grid__switch_kw=5.0, grid__battery__p_kw=85.0)["grid.closed"][0] == 1.0  # beyond 0.02 * 200
    assert of.hears(LIVE, grid__switch_kw=1.0, grid__battery__p_kw=89.0)["grid.closed"][0] == 0.0


def test_planned_island_for_which_power_lacks_sheds_first() -> None:
    of = Control(planned=[{"begins_s": 60, "lasts_s": 600}], prepare_s=0)
    of.hears(LIVE)
    of.hears(LIVE, battery__p_most_kw=50.0)
    assert [of.said(p) for p in ("wards.connected", "depot.connected", "grid.closed")] == [1.0, 0.0, 1.0]


def test_planned_island_that_gives_too_much_sheds_nobody() -> None:
    """The island gives 80 kW to the grid, and the store is full: to take loads off would make it more."""
    of = Control(planned=[{"begins_s": 60, "lasts_s": 600}], prepare_s=0)
    of.hears(LIVE)
    of.hears(LIVE, grid__switch_kw=-80.0, battery__p_least_kw=0.0)
    assert [of.said(p) for p in ("wards.connected", "depot.connected", "grid.closed")] == [1.0, 1.0, 1.0]


# --- when it hears nothing ---------------------------------------------------------------------------


def test_beside_the_grid_a_control_that_hears_nothing_lets_stores_rest() -> None:
    of = Control(silent_after_s=300)
    of.hears(LIVE, battery__soc_pu=0.2, battery__age_s=300.0)
    assert of.said("battery.p_set_kw") < 0.0
    of.hears(LIVE, battery__soc_pu=0.2, battery__age_s=301.0)
    assert [of.said(p) for p in ("silent", "battery.p_set_kw", "grid.closed", "depot.connected")] == [
        1.0,
        0.0,
        1.0,
        1.0,
    ]


@pytest.mark.parametrize(("step_min", "silent_after_s"), [(1, 900.0), (30, 5400.0)])
def test_one_step_over_a_network_is_no_silence_however_long_steps_are(step_min: int, silent_after_s: float) -> None:
    cheap = {"reads": "retail.price", "charge_below": 0.1}
    of = Control(step_min * MINUTE, economics=cheap)
    for age_s, silent in ((60.0 * step_min, 0.0), (silent_after_s, 0.0), (silent_after_s + 1.0, 1.0)):
        of.hears(LIVE, retail__price=0.05, retail__age_s=age_s, grid__age_s=age_s)
        assert of.said("silent") == silent
        assert (of.said("battery.p_set_kw") < 0.0) == (silent == 0.0)


def test_in_an_island_a_control_that_hears_nothing_keeps_what_is_critical_alone() -> None:
    of = Control(silent_after_s=300)
    of.hears(ISLAND)
    of.hears(ISLAND, grid__age_s=301.0)
    assert [of.said(p) for p in ("battery.p_set_kw", "battery.run", "wards.connected", "depot.connected")] == [
        0,
        1,
        1,
        0,
    ]


def test_a_control_that_hears_nothing_does_not_reconnect() -> None:
    of = Control(silent_after_s=300, reconnection={"after_s": 0})
    of.hears(ISLAND)
    assert of.hears(RETURNED, grid__age_s=301.0)["grid.closed"][0] == 0.0
    assert of.hears(RETURNED)["grid.closed"][0] == 1.0


def test_a_control_that_falls_silent_opens_nothing_that_it_has_just_closed() -> None:
    of = Control(silent_after_s=300, reconnection={"after_s": 0})
    of.hears(ISLAND)
    assert of.hears(RETURNED)["grid.closed"][0] == 1.0
    assert of.hears(RETURNED, grid__age_s=301.0)["grid.closed"][0] == 1.0


def test_a_control_that_falls_silent_once_it_has_opened_keeps_what_is_critical_alone() -> None:
    of = Control(silent_after_s=300, planned=[{"begins_s": 60, "lasts_s": 3600}], prepare_s=60)
    for _ in range(2):
        of.hears(LIVE, grid__switch_kw=0.0)
    assert of.said("grid.closed") == 0.0
    of.hears(LIVE, grid__switch_kw=0.0, grid__age_s=301.0)
    assert [of.said(p) for p in ("grid.closed", "wards.connected", "depot.connected")] == [0.0, 1.0, 0.0]


# --- what is counted ---------------------------------------------------------------------------------


def test_energy_not_served_of_an_island_is_counted_by_hand() -> None:
    """30 kW are off for 10 of 20 minutes: 5 kWh, of none that is critical; one of two customers, so SAIDI is 5 min."""
    of = Control(loads=[GROUPS[0], {**GROUPS[1], "shed_below_soc_pu": 0.6}], shedding={"rest_s": 0, "every_s": 0})
    of.hears(ISLAND, battery__soc_pu=0.5)
    for k in range(1, 21):
        of.hears(ISLAND, battery__soc_pu=0.5 if k < 10 else 0.9)
    counted = of.control.statistics()
    assert counted["unserved_kwh"] == pytest.approx(5.0)
    assert counted["asked_kwh"] == pytest.approx(30.0)
    assert counted["critical_served_pu"] == 1.0
    assert counted["saidi_h"] == pytest.approx(5.0 / 60.0)
    assert counted["saifi"] == 0.5
    assert of.said("unserved_kwh") == pytest.approx(5.0)


def test_control_that_is_not_active_counts_and_tells_everybody_to_go_on() -> None:
    of = Control(active=False)
    of.hears(LIVE)
    of.hears(DEAD)
    of.hears(DEAD)
    said = [of.said(p) for p in ("grid.closed", "battery.run", "battery.p_set_kw", "depot.connected")]
    assert said == [1.0, 1.0, 0.0, 1.0]
    assert of.said("critical_unserved_kwh") == pytest.approx(2.0)


def test_step_that_is_repeated_gives_the_same_and_counts_once() -> None:
    of = Control()
    of.hears(ISLAND)
    first = of.hears(DEAD)
    of.count -= 1
    assert {port: v.tolist() for port, v in of.hears(DEAD).items()} == {port: v.tolist() for port, v in first.items()}
    of.hears(DEAD)
    assert_allclose(of.said("unserved_kwh"), 3.0)


# --- what is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"storage": []}, "it needs a grid-forming source"),
        (
            {"loads": [GROUPS[0], {**GROUPS[1], "critical": True, "priority": 1}, GROUPS[0]]},
            "has two priorities, 1 and 1",
        ),
        (
            {"loads": [{**GROUPS[0], "priority": 3}, GROUPS[1]]},
            "'wards' is critical, and would be taken off before 'depot'",
        ),
        (
            {"loads": [{**GROUPS[0], "shed_below_soc_pu": 0.5}, {**GROUPS[1], "shed_below_soc_pu": 0.3}]},
            "'wards' is taken off at 0.5 stored, before 'depot', which has less priority",
        ),
        ({"reserve_soc_pu": 0.99}, "a reserve of 0.99 is more than top_soc_pu 0.95"),
        ({"economics": {"charge_below": 0.4, "discharge_above": 0.3}}, "charge_below 0.4 must be less"),
        (
            {"planned": [{"begins_s": 0, "lasts_s": 100}, {"begins_s": 50, "lasts_s": 100}]},
            "planned islands must follow each other",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, Any], what: str) -> None:
    with pytest.raises(ValidationError, match=what):
        MicrogridSettings.model_validate({"storage": ["battery"], "loads": GROUPS, **settings})


def refused(of: Context, **settings: Any) -> dict[str, str]:
    document = MicrogridSettings.model_validate({"storage": ["battery"], "loads": GROUPS, **settings})
    with pytest.raises(PlaceError) as error:
        Microgrid(document, of)
    return {"/".join(map(str, path)): what for path, what in error.value.problems}


def test_fleets_that_are_not_there_are_refused_all_at_once() -> None:
    found = refused(context(), storage=["batery"], loads=[{"fleet": "ward", "priority": 1}, GROUPS[1]])
    assert found["storage/0"] == "no fleet is called 'batery'; did you mean 'battery'?"
    assert found["loads/0/fleet"] == "no fleet is called 'ward'; did you mean 'wards'?"


def test_source_that_does_not_form_or_is_not_supervised_is_refused() -> None:
    assert "does not form a grid" in refused(context(), storage=["wards"])["storage/0"]
    own = SimpleNamespace(takes=(), soc_initial_pu=0.5)
    assert "it needs supervised" in refused(context(battery=own))["storage/0"]
    assert "belongs into storage" in refused(context(), storage=[], engines=["battery"])["engines/0"]


def test_shedding_above_nominal_frequency_is_refused() -> None:
    """59.3 Hz, as for 60 Hz, would take off every load of an island of 50 Hz, step by step."""
    own = SimpleNamespace(takes=("p_set_kw", "v_set_pu", "run"), soc_initial_pu=0.5, f_nominal_hz=50)
    told = "59.3 Hz is not below the island's nominal 50 Hz"
    assert refused(context(battery=own), shedding={"below_hz": 59.3})["shedding/below_hz"] == told


def test_slip_with_which_it_may_never_be_connected_is_refused() -> None:
    """IEEE 1547-2018, table 5: 0.1 Hz above 1500 kVA, and 0.3 Hz for the 200 kVA of the source."""
    told = "0.1 Hz is not less than the 0.1 Hz within which 2000 kVA may be connected"
    assert refused(context(), reconnection={"slip_hz": 0.1, "rated_kva": 2000})["reconnection/slip_hz"] == told
    Control(reconnection={"slip_hz": 0.25})


def test_load_that_cannot_be_taken_off_is_refused_unless_it_is_critical() -> None:
    found = refused(context(wards=SimpleNamespace(takes=()), depot=SimpleNamespace(takes=())))
    assert list(found) == ["loads/1/fleet"]
    assert "it needs sheddable, or is critical" in found["loads/1/fleet"]


def test_feeder_without_an_island_that_can_be_told_is_refused() -> None:
    assert "has no island" in refused(context(grid=SimpleNamespace()))["feeder"]
    by_itself = SimpleNamespace(island=SimpleNamespace(switch="head", is_told=False))
    assert "opens by itself" in refused(context(grid=by_itself))["feeder"]
