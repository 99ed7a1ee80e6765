"""Plants that can be curtailed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fleets import MINUTE, context, listed, places, stepped
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from derloop.kind import PlaceError
from federates.der.industrial import IndustrialGroup, IndustrialSettings, terminals

PLAIN = {"rated_kva": 1000.0, "pf": 1.0, "share": 0.8, "curtailable_pu": 0.5, "notice_s": 0.0, "ramp_pu_per_min": 1.0}
EVENT = {"begins_s": 600.0, "lasts_s": 1200.0}


def made(**settings: Any) -> IndustrialSettings:
    return IndustrialSettings.model_validate({"at": places(1), **PLAIN, **settings})


def group(count: int = 1, step_ns: int = 5 * MINUTE, **settings: Any) -> IndustrialGroup:
    return IndustrialGroup(made(at=places(count), **settings), context(step_ns))


def course(plant: IndustrialGroup, port: str, count: int, step_ns: int = 5 * MINUTE) -> list[float]:
    return [float(stepped(plant, k * step_ns)[port][0]) for k in range(count)]


def test_event_cuts_the_part_that_can_be_curtailed() -> None:
    plant = group(events=[EVENT], rebound_pu=0.0)
    assert course(plant, "p_kw", 8) == pytest.approx([800.0, 800.0, 400.0, 400.0, 400.0, 400.0, 800.0, 800.0])


def test_event_that_falls_between_two_instants_is_refused() -> None:
    events = [{"begins_s": 300.0, "lasts_s": 1.0}, {"begins_s": 301.0, "lasts_s": 299.0}]
    with pytest.raises(PlaceError, match="falls between two instants of 'fleet', whose step is 300 s") as refused:
        group(events=events)
    assert [path for path, _ in refused.value.problems] == [("events", 1)]
    assert group(events=[events[0], {"begins_s": 301.0, "lasts_s": 299.5}])


def test_share_that_is_asked_for_counts() -> None:
    plant = group(events=[{**EVENT, "share_pu": 0.25}, {**EVENT, "share_pu": 0.5}])
    assert course(plant, "cut_kw", 3)[2] == pytest.approx(200.0)


def test_cut_begins_after_its_notice() -> None:
    plant = group(events=[EVENT], notice_s=600.0)
    assert course(plant, "cut_kw", 8) == pytest.approx([0.0] * 4 + [400.0, 400.0, 0.0, 0.0])


def test_cut_comes_and_goes_with_its_ramp() -> None:
    plant = group(events=[EVENT], ramp_pu_per_min=0.03)
    assert course(plant, "cut_kw", 9) == pytest.approx([0.0, 0.0, 150.0, 300.0, 400.0, 400.0, 250.0, 100.0, 0.0])


def test_cut_ends_after_its_longest_time_and_rests() -> None:
    long = {"begins_s": 0.0, "lasts_s": 36000.0}
    plant = group(events=[long], longest_s=900.0, rest_s=600.0)
    assert course(plant, "cut_kw", 8) == pytest.approx([400.0] * 3 + [0.0] * 2 + [400.0] * 3)


@pytest.mark.parametrize("minutes", [5, 10, 30, 60])
def test_a_plant_rests_for_as_long_as_it_needs_whatever_the_step(minutes: int) -> None:
    events = [{"begins_s": 0.0, "lasts_s": 3600.0}, {"begins_s": 7200.0, "lasts_s": 3600.0}]
    plant = group(step_ns=minutes * MINUTE, events=events, rest_s=3600.0)
    cut = course(plant, "cut_kw", 180 // minutes, minutes * MINUTE)
    hour = 60 // minutes
    assert cut == pytest.approx([400.0] * hour + [0.0] * hour + [400.0] * hour)


def test_energy_cut_is_made_up_for_in_part() -> None:
    plant = group(events=[EVENT], rebound_pu=0.5, rebound_power_pu=0.1)
    out = [stepped(plant, k * 5 * MINUTE) for k in range(40)]
    # 400 kW for 20 min is 133.33 kWh; half of it at 100 kW takes 40 min
    assert [float(o["made_up_kw"][0]) for o in out[6:15]] == pytest.approx([100.0] * 8 + [0.0], abs=1e-9)
    assert float(out[6]["owed_kwh"][0]) == pytest.approx(66.666667, abs=1e-6)
    assert float(out[-1]["owed_kwh"][0]) == pytest.approx(0.0, abs=1e-9)


def test_a_plant_does_not_make_up_beyond_its_rating() -> None:
    plant = group(events=[EVENT], share=0.97, rebound_power_pu=0.5)
    assert max(course(plant, "p_kw", 100)) == pytest.approx(1000.0)


def test_a_control_curtails_a_group_that_responds() -> None:
    plant = group(responds=True)
    stepped(plant)
    assert stepped(plant, 5 * MINUTE, curtail_pu=1.0)["cut_kw"][0] == 400.0
    assert stepped(plant, 10 * MINUTE, curtail_pu=7.0)["cut_kw"][0] == 400.0
    assert "curtail_pu" not in group().interface.inputs


@settings(deadline=None)  # another process may hold the processor
@given(
    asked=st.lists(st.floats(0.0, 1.0) | st.just(0.0), min_size=5, max_size=60),
    rebound=st.floats(0.0, 1.0),
    notice=st.sampled_from([0.0, 600.0]),
    longest=st.floats(100.0, 5000.0),
    ramp=st.floats(0.01, 1.0),
)
def test_energy_is_neither_made_nor_lost(
    asked: list[float], rebound: float, notice: float, longest: float, ramp: float
) -> None:
    plant = group(responds=True, rebound_pu=rebound, notice_s=notice, longest_s=longest, ramp_pu_per_min=ramp)
    owed_kwh = 0.0
    for k, share in enumerate([*asked, *[0.0] * 10]):
        out = {port: float(v[0]) for port, v in stepped(plant, k * 5 * MINUTE, curtail_pu=share).items()}
        assert out["owed_kwh"] == pytest.approx(owed_kwh, abs=1e-9)
        assert out["p_kw"] == pytest.approx(out["baseline_kw"] - out["cut_kw"] + out["made_up_kw"], abs=1e-9)
        assert 0.0 <= out["cut_kw"] <= 400.0
        assert 0.0 <= out["p_kw"] <= 1000.0
        owed_kwh += (rebound * out["cut_kw"] - out["made_up_kw"]) / 12.0


def test_second_step_for_an_instant_starts_from_the_last_instant() -> None:
    once, twice = (group(3, responds=True, longest_s=1500.0, notice_s=300.0, ramp_pu_per_min=0.03) for _ in range(2))
    for k in range(100):
        stepped(twice, k * 5 * MINUTE, curtail_pu=1.0)
        stepped(twice, k * 5 * MINUTE, curtail_pu=0.0)
        share = max(np.sin(k / 9.0), 0.0)
        a, b = stepped(once, k * 5 * MINUTE, curtail_pu=share), stepped(twice, k * 5 * MINUTE, curtail_pu=share)
        assert listed(a) == listed(b)


def test_plants_draw_from_the_feeder_and_have_a_power_factor() -> None:
    assert terminals(made(), context())[0].draws
    assert stepped(group(pf=0.8))["q_kvar"][0] == pytest.approx(480.0)  # 0.8 * 800 kW * 0.75


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"rated_kva": 0}, "rated_kva"),
        ({"curtailable_pu": 0}, "curtailable_pu"),
        ({"ramp_pu_per_min": 0}, "ramp_pu_per_min"),
        ({"events": [{"begins_s": 0, "lasts_s": 60, "share_pu": 1.1}]}, "share_pu"),
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        made(**wrong)


@pytest.mark.parametrize(
    ("lasts_s", "notice_s", "asked_s"), [(1200.0, 1200.0, 900), (1500.0, 1201.0, 1200), (1100.0, 1000.0, 900)]
)
def test_event_whose_notice_is_not_over_at_its_last_instant_is_refused(
    lasts_s: float, notice_s: float, asked_s: int
) -> None:
    """One that lasted longer than its notice, but for no instant, cut nothing, and nothing was said."""
    why = f"from 600 s on, last {asked_s} s later, within its notice_s of {notice_s:g} s: nothing would be cut"
    with pytest.raises(PlaceError, match=why) as error:
        group(
            events=[{**EVENT, "lasts_s": 36000.0, "begins_s": 36000.0}, {**EVENT, "lasts_s": lasts_s}],
            notice_s=notice_s,
        )
    assert [path for path, _ in error.value.problems] == [("events", 1)]


def test_events_with_no_instant_between_them_are_one() -> None:
    apart = [{"begins_s": 0.0, "lasts_s": 301.0}, {"begins_s": 400.0, "lasts_s": 400.0}]
    assert course(group(events=apart, notice_s=500.0), "cut_kw", 4) == pytest.approx([0.0, 0.0, 400.0, 0.0])


def test_notice_of_events_that_join_is_given_once() -> None:
    joins = [{"begins_s": 1800.0, "lasts_s": 600.0}, EVENT]
    plant = group(events=joins, notice_s=1200.0)
    assert course(plant, "cut_kw", 9) == pytest.approx([0.0] * 6 + [400.0, 400.0, 0.0])
    assert made(events=[EVENT], notice_s=1200.0, responds=True).takes  # a control may have asked before


def test_share_above_one_is_refused_where_it_stands(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("time_s,s\n0,0.5\n86400,1.5\n")
    with pytest.raises(PlaceError, match=r"1\.5 is not allowed: 0 to 1 pu") as error:
        IndustrialGroup(made(share={"file": "s.csv", "column": "s"}), context(folder=tmp_path))
    assert error.value.problems[0][0] == ("share", "column")
