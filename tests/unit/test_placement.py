"""How devices meet the feeder."""

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from derloop.kind import Bus, Context, FeederLoad, PlaceError, Terminal
from federates.der.placement import At, Size, Spot, draw, place

FEEDER = SimpleNamespace(
    buses={
        "645": Bus("645", (2, 3), 2.4),
        "671": Bus("671", (1, 2, 3), 2.4),
        "680": Bus("680", (1, 2, 3), 2.4),
    },
    loads={
        "645b": FeederLoad("645b", "645", (2,), "wye", 100.0, 60.0),
        "671": FeederLoad("671", "671", (1, 2, 3), "delta", 900.0, 400.0),
    },
)
AT = TypeAdapter(At[Spot])
SIZE = TypeAdapter(Size)


def context(name: str = "pv", seed: int = 7, feeder: Any = FEEDER) -> Context:
    start = datetime(2025, 7, 15, tzinfo=UTC)
    return Context(name, Path.cwd(), start, 60 * 10**9, 3600 * 10**9, seed, feeder=feeder)


def placed(at: Any, rated_kva: tuple[float, float] | None = (6.0, 6.0), **kwargs: Any) -> tuple[Terminal, ...]:
    return place(AT.validate_python(at), rated_kva, context(**kwargs))


def problems(at: Any, **kwargs: Any) -> dict[tuple[str | int, ...], str]:
    with pytest.raises(PlaceError) as error:
        placed(at, **kwargs)
    return dict(error.value.problems)


def test_listed_places_keep_their_order_and_take_labels_and_ratings() -> None:
    first, second, third = placed(
        [{"bus": "645.2", "rated_kva": 4.5}, {"bus": "671.1.2.3", "label": "school"}, {"bus": "645"}]
    )
    assert first == Terminal("pv_0", "645", (2,), 4.5)
    assert second == Terminal("school", "671", (1, 2, 3), 6.0)
    assert third == Terminal("pv_2", "645", (2, 3), 6.0)


def test_names_of_buses_do_not_depend_on_case() -> None:
    feeder = SimpleNamespace(buses={"rg60": Bus("rg60", (1,), 2.4)}, loads={})
    assert placed([{"bus": "RG60.1"}], feeder=feeder)[0].bus == "rg60"


def test_every_misplaced_device_is_named_with_its_path_and_what_is_possible() -> None:
    found = problems([{"bus": "654.2"}, {"bus": "671.1"}, {"bus": "645.1"}, {"bus": "671.1.1"}, {"bus": "xyz"}])
    assert found == {
        ("at", 0, "bus"): "the feeder has no bus '654'; did you mean '645'?",
        ("at", 2, "bus"): "bus '645' has no phase 1; it has 2, 3",
        ("at", 3, "bus"): "bus '671': a phase is named twice",
        ("at", 4, "bus"): "the feeder has no bus 'xyz'; there are: 645, 671, 680",
    }


def test_a_label_that_is_used_twice_is_refused() -> None:
    found = problems([{"bus": "645", "label": "a"}, {"bus": "671", "label": "a"}, {"bus": "671"}])
    assert list(found) == [("at", 0, "label"), ("at", 1, "label")]
    assert list(problems([{"bus": "645"}, {"bus": "671", "label": "pv_0"}])) == [("at", 1, "label")]


def test_a_device_without_any_rating_is_refused() -> None:
    found = problems([{"bus": "645", "rated_kva": 1.0}, {"bus": "671"}], rated_kva=None)
    assert list(found) == [("at", 1, "rated_kva")]
    assert list(problems({"count": 2}, rated_kva=None)) == [("rated_kva",)]


def test_a_fleet_without_a_feeder_is_refused() -> None:
    assert list(problems([{"bus": "645"}], feeder=None)) == [("at",)]


def test_a_spread_over_loads_is_single_phase_and_in_proportion_to_load() -> None:
    fleet = placed({"count": 4000, "on": "loads"})
    count = Counter((device.bus, device.phases) for device in fleet)
    assert set(count) == {("645", (2,)), ("671", (1,)), ("671", (2,)), ("671", (3,))}
    # 100 of 1000 kW: 400 expected, standard deviation sqrt(4000 * 0.1 * 0.9) = 19
    assert count["645", (2,)] == pytest.approx(400, abs=76)
    assert count["671", (1,)] == pytest.approx(1200, abs=116)


def test_a_spread_over_buses_takes_any_phase_of_a_bus_with_load() -> None:
    count = Counter((device.bus, *device.phases) for device in placed({"count": 4000, "on": "buses"}))
    assert set(count) == {("645", 2), ("645", 3), ("671", 1), ("671", 2), ("671", 3)}
    assert count["645", 3] == pytest.approx(800, abs=102)  # four standard deviations


def test_a_spread_over_a_list_takes_the_phases_of_the_list() -> None:
    places = {(device.bus, device.phases) for device in placed({"count": 100, "on": ["645.3", "680"]})}
    assert places == {("645", (3,)), ("680", (1,)), ("680", (2,)), ("680", (3,))}
    assert list(problems({"count": 1, "on": ["645.3", "68"]})) == [("at", "on", 1)]


def test_a_spread_over_a_feeder_without_load_is_refused() -> None:
    assert list(problems({"count": 1}, feeder=SimpleNamespace(buses=FEEDER.buses, loads={}))) == [("at", "on")]


def test_a_spread_is_the_same_in_every_run_and_differs_with_the_seed() -> None:
    spread = {"count": 40}
    assert placed(spread) == placed(spread)
    assert placed(spread) != placed(spread, seed=8)
    assert [device.label for device in placed(spread)][:2] == ["pv_0", "pv_1"]


def test_ratings_are_drawn_within_their_range_and_do_not_move_the_places() -> None:
    drawn, same = placed({"count": 500}, (4.0, 8.0)), placed({"count": 500}, (6.0, 6.0))
    assert all(4.0 <= device.rated_kva <= 8.0 for device in drawn)
    assert len({device.rated_kva for device in drawn}) == 500
    assert {device.rated_kva for device in same} == {6.0}
    assert [device.bus for device in drawn] == [device.bus for device in same]


def test_each_purpose_has_chances_of_its_own() -> None:
    assert draw((0.5, 1.0), 3, context(), "a")[0] != draw((0.5, 1.0), 3, context(), "b")[0]


def test_a_size_is_a_number_or_a_range() -> None:
    assert SIZE.validate_python(6) == (6.0, 6.0)
    assert SIZE.validate_python([4, 8]) == (4.0, 8.0)
    assert SIZE.dump_python((6.0, 6.0)) == 6.0
    assert SIZE.dump_python((4.0, 8.0)) == [4.0, 8.0]


@pytest.mark.parametrize("wrong", [0, -1, 1e10, [8, 4], [0, 4], [1], "6", True, float("nan")])
def test_an_impossible_size_is_refused(wrong: Any) -> None:
    with pytest.raises(ValidationError):
        SIZE.validate_python(wrong)


def test_what_is_wrong_with_one_place_is_said_once() -> None:
    with pytest.raises(ValidationError) as error:
        AT.validate_python([{"bus": "6 45"}])
    assert [problem["loc"] for problem in error.value.errors()] == [("places", 0, "bus")]
    with pytest.raises(ValidationError, match="one place or more"):
        AT.validate_python([])
