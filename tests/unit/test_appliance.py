"""Deferrable appliances."""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from fleets import DAY, HOUR, MINUTE, S, context, listed, places, stepped
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from derloop.kind import PlaceError
from federates.der.appliance import ApplianceFleet, ApplianceSettings, terminals

QUARTER = 15 * MINUTE
PLAIN = {
    "rated_kva": 2.0,
    "pf": 1.0,
    "ready_h": [18, 18],
    "deadline_h": 30,
    "cycle_pu": [1.0, 0.25],
    "cycle_step_s": 900,
}


def made(**settings: Any) -> ApplianceSettings:
    return ApplianceSettings.model_validate({"at": places(1), **PLAIN, **settings})


def fleet(
    count: int = 1, step_ns: int = QUARTER, days: int = 2, start: datetime | None = None, **settings: Any
) -> ApplianceFleet:
    when = {} if start is None else {"start": start}
    return ApplianceFleet(made(at=places(count), **settings), context(step_ns, days * DAY, **when))


def powers(one: ApplianceFleet, begin_h: float, count: int, step_ns: int = QUARTER, **inputs: Any) -> list[float]:
    return [stepped(one, int(begin_h * HOUR) + k * step_ns, **inputs)["p_kw"][0] for k in range(count)]


def test_appliance_runs_its_cycle_when_it_is_ready() -> None:
    assert powers(fleet(), 17.75, 5) == [0.0, 2.0, 0.5, 0.0, 0.0]


def test_patient_appliance_is_done_at_its_deadline() -> None:
    assert powers(fleet(mode="latest"), 29.25, 4) == [0.0, 2.0, 0.5, 0.0]


def test_commanded_appliance_waits_for_leave_and_not_beyond_its_deadline() -> None:
    one = fleet(mode="commanded")
    out = [stepped(one, 18 * HOUR + k * QUARTER, allow=float(k == 3)) for k in range(6)]
    assert [o["p_kw"][0] for o in out] == [0.0, 0.0, 0.0, 2.0, 0.5, 0.0]
    assert [o["waiting"][0] for o in out] == [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]
    assert [o["done"][0] for o in out] == [0.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    assert powers(fleet(mode="commanded"), 29.25, 4) == [0.0, 2.0, 0.5, 0.0]


def test_a_cycle_that_is_ready_after_midnight_runs_on_the_first_day_too() -> None:
    one = fleet(days=2, ready_h=[26, 26], deadline_h=31)
    out = [stepped(one, k * QUARTER)["p_kw"][0] for k in range(2 * 96)]
    assert [k / 4 for k in range(2 * 96) if out[k] == 2.0] == [2.0, 26.0]
    late = fleet(days=1, ready_h=[26, 26], deadline_h=31, start=datetime(2025, 7, 15, 3, tzinfo=UTC))
    assert [k / 4 for k in range(96) if stepped(late, k * QUARTER)["p_kw"][0] == 2.0] == [23.0]


def test_steps_in_which_a_cycle_is_late_are_refused() -> None:
    """Ready at 18.25 h, it begins at 19, and is done at 19.5: its deadline is at 19."""
    tight = {"ready_h": [18.25, 18.25], "deadline_h": 19}
    assert powers(fleet(**tight), 18.25, 3) == [2.0, 0.5, 0.0]
    with pytest.raises(PlaceError, match="a step of 3600 s is too long: a cycle of 'fleet_0' would be") as late:
        fleet(step_ns=HOUR, **tight)
    assert late.value.problems[0][0] == ("step_s",)


def test_a_night_that_is_too_short_for_a_cycle_is_not_put_down_to_the_step() -> None:
    """From 1 to 3 o'clock it is an hour on 9 March 2025: steps of 900 s were said to be too long, as were any."""
    night = {"ready_h": [25, 25], "deadline_h": 27, "cycle_step_s": 3600}
    with pytest.raises(
        PlaceError, match="too little time where the clock is set forward: a cycle of 'fleet_0'"
    ) as late:
        fleet(start=datetime(2025, 3, 8, tzinfo=ZoneInfo("America/Los_Angeles")), **night)
    assert late.value.problems[0][0] == ("deadline_h",)
    assert fleet(start=datetime(2025, 3, 10, tzinfo=ZoneInfo("America/Los_Angeles")), **night)


def test_cycles_of_a_day_do_not_depend_on_how_long_the_run_is() -> None:
    short, long = (fleet(20, days=days, ready_h=[16, 21], runs_pu=0.5) for days in (1, 5))
    told = [[stepped(one, k * QUARTER)["p_kw"].tolist() for k in range(96)] for one in (short, long)]
    assert told[0] == told[1]
    assert any(map(any, told[0]))


def test_appliance_runs_on_each_day() -> None:
    one = fleet(days=3)
    out = [stepped(one, k * QUARTER) for k in range(3 * 96)]
    assert [k / 4 for k in range(3 * 96) if out[k]["p_kw"][0] == 2.0] == [18.0, 42.0, 66.0]


def test_what_was_ready_before_the_run_is_not_part_of_it() -> None:
    one = fleet(start=datetime(2025, 7, 15, 19, tzinfo=UTC))
    out = [stepped(one, k * QUARTER)["p_kw"][0] for k in range(96)]
    assert [k / 4 for k in range(96) if out[k] == 2.0] == [23.0]


@settings(deadline=None)  # another process may hold the processor
@given(
    step_s=st.sampled_from([60, 100, 300, 900, 1200, 3600]), cycle=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=6)
)
def test_a_cycle_takes_its_energy_at_any_step(step_s: int, cycle: list[float]) -> None:
    one = fleet(step_ns=step_s * S, cycle_pu=cycle, ready_h=[17.3, 17.9])
    p_kw = [stepped(one, k * step_s * S)["p_kw"][0] for k in range(DAY // (step_s * S))]
    assert sum(p_kw) * step_s / 3600.0 == pytest.approx(2.0 * sum(cycle) * 0.25, abs=1e-9)


def test_share_of_days_on_which_it_runs() -> None:
    many = fleet(500, runs_pu=0.3)
    done = [stepped(many, k * QUARTER) for k in range(96)][-1]["done"]
    assert done.mean() == pytest.approx(0.3, abs=0.05)


def test_second_step_for_an_instant_starts_from_the_last_instant() -> None:
    once, twice = (fleet(9, mode="commanded", ready_h=[15, 20]) for _ in range(2))
    for k in range(190):
        stepped(twice, k * QUARTER, allow=1.0)
        stepped(twice, k * QUARTER, allow=0.0)
        allow = float(k % 7 == 0)
        assert listed(stepped(once, k * QUARTER, allow=allow)) == listed(stepped(twice, k * QUARTER, allow=allow))


def test_forty_appliances_do_what_each_of_them_does_alone() -> None:
    at = [{"bus": "671.1", "rated_kva": 1.0 + i, "label": f"a{i}"} for i in range(40)]
    together, alone = (
        ApplianceFleet(made(at=some, ready_h=[10, 20]), context(QUARTER, 2 * DAY)) for some in (at, at[7:8])
    )
    for k in range(96):
        out, single = stepped(together, k * QUARTER), stepped(alone, k * QUARTER)
        assert {port: value[7] for port, value in out.items()} == {port: v[0] for port, v in single.items()}


def test_power_factor_makes_reactive_power_that_is_drawn() -> None:
    one = fleet(pf=0.8)
    out = stepped(one, 18 * HOUR)
    assert (out["p_kw"][0], out["q_kvar"][0]) == (pytest.approx(1.6), pytest.approx(1.2))
    assert terminals(made(), context())[0].draws


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"rated_kva": 0}, "rated_kva"),
        ({"deadline_h": 18.4}, "deadline_h 18.4 comes too early: ready at 18 and done at 18.5"),
        ({"deadline_h": 7}, "the next day's hours go on from 24"),
        ({"deadline_h": 43}, "too late: at most 42"),
        ({"ready_h": [20, 18]}, "20 is after 18"),
        ({"cycle_pu": []}, "cycle_pu"),
        ({"cycle_pu": [1.5]}, "cycle_pu"),
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        made(**wrong)


def test_a_cycle_waits_while_the_feeder_is_dead_and_takes_its_energy_afterwards() -> None:
    """One under way stood still and its time went on; one that had to begin was begun."""
    one = fleet(mode="latest")
    v_pu = [1.0, 1.0, 0.0, 0.0, 1.0, 1.0]
    out = [stepped(one, int(29.25 * HOUR) + k * QUARTER, v_pu=v) for k, v in enumerate(v_pu)]
    assert [o["p_kw"][0] for o in out] == [0.0, 2.0, 0.0, 0.0, 0.5, 0.0]
    assert [o["running"][0] for o in out] == [0.0, 1.0, 0.0, 0.0, 1.0, 0.0]
    assert [o["done"][0] for o in out] == [0.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    late = fleet(mode="latest")
    out = [stepped(late, int(29.25 * HOUR) + k * QUARTER, v_pu=float(k > 2)) for k in range(6)]
    assert [o["p_kw"][0] for o in out] == [0.0, 0.0, 0.0, 2.0, 0.5, 0.0]
    assert [o["waiting"][0] for o in out][:3] == [1.0, 1.0, 1.0]
