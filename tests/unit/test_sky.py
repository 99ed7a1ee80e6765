"""Irradiance with passing clouds."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pydantic import ValidationError

from derloop.contract import FloatArray
from derloop.kind import Bus, Context, PlaceError, Terminal
from federates.der.clouds import CloudField, Clouds
from federates.der.lookahead import Instants, Lookahead
from federates.der.pv import PvSettings
from federates.der.sky import Sky, SkySettings, build

S = 10**9
MINUTE = np.array([60 * S])
LABELS = {"pv": tuple(f"pv_{i}" for i in range(40)), "roofs": ("a", "b")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sky.csv").write_text("time_s,poa_wm2\n0,0\n43200,1000\n86400,0\n")
    return tmp_path


def context(folder: Path, seed: int = 7, labels: Any = LABELS, terminals: Any = None) -> Context:
    start = datetime(2025, 7, 15, tzinfo=UTC)
    return Context("sky", folder, start, 60 * S, 86400 * S, seed, terminals=terminals or {}, labels=labels)


def sky(folder: Path, over: tuple[str, ...] = ("pv",), clouds: Any = None, **kwargs: Any) -> Sky:
    settings = {"over": over, "clear_sky": {"file": "sky.csv", "column": "poa_wm2"}, "clouds": clouds}
    return Sky(SkySettings.model_validate(settings), context(folder, **kwargs))


def field(places_m: Any, **clouds: Any) -> CloudField:
    return CloudField(Clouds.model_validate(clouds), context(Path()), np.array(places_m, float))


def test_clear_sky_is_the_same_for_all() -> None:
    clear = Path(__file__).parents[2] / "scenarios" / "profiles"
    settings = {"over": ["pv"], "clear_sky": {"file": "clear_sky_july.csv", "column": "poa_wm2"}}
    out = Sky(SkySettings.model_validate(settings), context(clear)).step(43200 * S, {})["pv.irradiance_wm2"]
    assert out.shape == (40,)
    assert len(set(out.tolist())) == 1
    assert out[0] > 800.0


def test_each_fleet_has_a_port_with_its_devices(folder: Path) -> None:
    interface = sky(folder, ("pv", "roofs")).interface
    assert {name: port.labels for name, port in interface.outputs.items()} == {
        "pv.irradiance_wm2": LABELS["pv"],
        "roofs.irradiance_wm2": ("a", "b"),
    }
    assert {port.unit for port in interface.outputs.values()} == {"W/m2"}
    assert not interface.inputs


def test_irradiance_is_between_full_shadow_and_clear_sky(folder: Path) -> None:
    cloudy = sky(folder, clouds={"cover_pu": 0.5, "depth_pu": 0.7})
    noon = np.array([cloudy.step((43200 + t) * S, {})["pv.irradiance_wm2"].copy() for t in range(0, 3600, 60)])
    clear = 1000.0 * (1 - np.arange(0, 3600, 60) / 43200)[:, None]
    assert (noon <= clear * (1 + 1e-12)).all()
    assert (noon >= 0.3 * clear * (1 - 1e-12)).all()
    assert noon.std() > 50.0


def test_no_cover_is_clear_and_full_cover_is_dark() -> None:
    assert field([[0, 0]], cover_pu=0.0).clearness(MINUTE) == 1.0
    assert field([[0, 0]], cover_pu=1.0, depth_pu=0.7).clearness(MINUTE) == pytest.approx(0.3, abs=1e-12)


@pytest.mark.parametrize("cover", [0.2, 0.5, 0.8])
def test_cover_is_the_share_of_the_sky_under_cloud(cover: float) -> None:
    places = np.random.default_rng(3).uniform(0, 100_000, (4000, 2))
    under = field(places, cover_pu=cover, depth_pu=1.0, size_m=300.0).clearness(0 * MINUTE)[0] < 0.5
    assert under.mean() == pytest.approx(cover, abs=0.05)


def test_shadows_move_with_the_wind() -> None:
    """At 10 m/s from the west, a place 600 m to the east sees the same shadow 60 s later."""
    west_and_east = field([[0.0, 200.0], [600.0, 200.0]], wind_m_per_s=10.0, wind_from_deg=270.0)
    seen = west_and_east.clearness(S * np.arange(0, 3600, 10))
    assert_allclose(seen[6:, 1], seen[:-6, 0], atol=1e-9)
    assert np.abs(seen[:, 1] - seen[:, 0]).max() > 0.3


def test_wind_from_the_north_carries_shadows_south() -> None:
    north_and_south = field([[0.0, 300.0], [0.0, 0.0]], wind_m_per_s=5.0, wind_from_deg=0.0)
    seen = north_and_south.clearness(S * np.arange(0, 1800, 10))
    assert_allclose(seen[6:, 1], seen[:-6, 0], atol=1e-9)


def test_near_places_see_more_alike_than_far_ones() -> None:
    seen = field([[0, 0], [50, 0], [5000, 0]], size_m=400.0).clearness(S * np.arange(0, 20000, 50))
    alike = np.corrcoef(seen.T)
    assert alike[0, 1] > 0.9
    assert abs(alike[0, 2]) < 0.5


def test_irradiance_depends_on_time_and_seed_alone(folder: Path) -> None:
    clouds = {"cover_pu": 0.5}
    first, again, other = (sky(folder, clouds=clouds, seed=seed) for seed in (7, 7, 8))
    times = [43200 + 60 * k for k in range(10)]
    backwards = [again.step(t * S, {})["pv.irradiance_wm2"].copy() for t in reversed(times)][::-1]
    for t, values in zip(times, backwards, strict=True):
        assert_array_equal(first.step(t * S, {})["pv.irradiance_wm2"], values)
        assert_array_equal(first.step(t * S, {})["pv.irradiance_wm2"], values)
    assert (other.step(times[0] * S, {})["pv.irradiance_wm2"] != backwards[0]).any()


def test_before_the_first_step_holds_what_the_first_step_gives(folder: Path) -> None:
    assert_array_equal(sky(folder).start()["pv.irradiance_wm2"], np.zeros(40))


def test_devices_at_one_bus_have_one_sky_whatever_their_fleet(folder: Path) -> None:
    terminals = {
        "pv": tuple(Terminal(label, f"bus{i}", (1,), 5.0) for i, label in enumerate(LABELS["pv"])),
        "roofs": (Terminal("a", "bus3", (1,), 5.0), Terminal("b", "elsewhere", (1,), 5.0)),
    }
    out = sky(folder, ("pv", "roofs"), {"cover_pu": 0.5}, terminals=terminals).step(43200 * S, {})
    assert out["roofs.irradiance_wm2"][0] == out["pv.irradiance_wm2"][3]
    assert out["roofs.irradiance_wm2"][1] not in out["pv.irradiance_wm2"]


def test_forty_places_see_what_each_of_them_sees_alone() -> None:
    places = np.random.default_rng(3).uniform(0, 1000, (40, 2))
    together = field(places).clearness(MINUTE)[0]
    assert together.tolist() == [field([place]).clearness(MINUTE)[0, 0] for place in places]


def test_fleet_that_is_not_there_is_refused(folder: Path) -> None:
    with pytest.raises(PlaceError, match="did you mean 'roofs'") as error:
        sky(folder, ("pv", "roof"))
    assert error.value.problems[0][0] == ("over", 1)
    with pytest.raises(PlaceError, match="twice"):
        sky(folder, ("pv", "pv"))


@pytest.mark.parametrize("wrong", [{"cover_pu": 1.5}, {"size_m": 0}, {"softness": 0}, {"wind_from_deg": 400}])
def test_impossible_clouds_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Clouds.model_validate(wrong)


# --- where devices stand, and who can be lit ---------------------------------------------------------


def feeder(**xy: Any) -> Any:
    return SimpleNamespace(buses={name: Bus(name, (1,), 2.4, at) for name, at in xy.items()}, loads={})


def at_buses(*buses: str) -> dict[str, tuple[Terminal, ...]]:
    return {"pv": tuple(Terminal(f"pv_{i}", bus, (1,), 5.0) for i, bus in enumerate(buses))}


def seen_at(folder: Path, *buses: str, over: Any) -> np.ndarray:
    terminals = at_buses(*buses)
    labels = {"pv": tuple(t.label for t in terminals["pv"])}
    clouds = {"cover_pu": 0.5, "wind_m_per_s": 10.0, "wind_from_deg": 270.0}
    column = {"file": "sky.csv", "column": "poa_wm2"}
    settings = {"over": ("pv",), "clear_sky": column, "clouds": clouds, "extent_m": [600.0, 600.0]}
    there = replace(
        context(folder, labels=labels, terminals=terminals),
        feeders={"grid": over},
        meets={"pv": "grid"},
        step_ns=10 * S,
    )
    made = Sky(SkySettings.model_validate(settings), there)
    times = range(43200, 46800, 10)
    return np.array([made.step(t * S, {})["pv.irradiance_wm2"] / (1000 * (2 - t / 43200)) for t in times])


def test_buses_with_coordinates_stand_where_the_feeder_draws_them(folder: Path) -> None:
    """600 m from west to east, in whatever unit the feeder is drawn: the shadow needs 60 s at 10 m/s."""
    drawn = feeder(west=(-20.0, 3.0), middle=(-5.0, 3.0), east=(10.0, 3.0), north=(0.0, 9.0))
    seen = seen_at(folder, "west", "east", "middle", over=drawn)
    assert_allclose(seen[6:, 1], seen[:-6, 0], atol=1e-9)
    assert_allclose(seen[3:, 2], seen[:-3, 0], atol=1e-9)


def test_bus_without_coordinates_has_a_place_by_chance(folder: Path) -> None:
    some = feeder(west=(0.0, 0.0), east=(1.0, 0.0), nowhere=None)
    none = feeder(west=None, east=None, nowhere=None)
    with_some, with_none = (seen_at(folder, "nowhere", "east", over=f) for f in (some, none))
    assert_array_equal(with_some[:, 0], with_none[:, 0])
    assert np.abs(with_some[:, 1] - with_none[:, 1]).max() > 0.1


@pytest.mark.parametrize(
    ("plane", "light", "why"),
    [
        (None, {"weather": {"source": "clear-sky"}, "site": {"latitude_deg": 33, "longitude_deg": -112}}, "needs the"),
        ({"tilt_deg": 20}, {"clear_sky": {"file": "sky.csv", "column": "poa_wm2"}}, "which needs weather"),
    ],
)
def test_fleet_that_this_light_does_not_fit_is_refused(folder: Path, plane: Any, light: Any, why: str) -> None:
    fleet = PvSettings.model_validate({"at": [{"bus": "1"}], "rated_kva": 5, "plane": plane})
    there = replace(context(folder), settings={"pv": fleet})
    with pytest.raises(PlaceError, match=why) as error:
        build(SkySettings.model_validate({"over": ["pv"], **light}), there)
    assert error.value.problems[0][0] == ("over", 0)


def _southern(folder: Path, at: Any, latitude_deg: float = -33.9, **plane: Any) -> Any:
    fleet = PvSettings.model_validate({"at": at, "rated_kva": 5, "plane": plane})
    there = replace(context(folder), settings={"pv": fleet})
    site = {"latitude_deg": latitude_deg, "longitude_deg": 151.2}
    return build(SkySettings.model_validate({"over": ["pv"], "weather": {"source": "clear-sky"}, "site": site}), there)


@pytest.mark.parametrize("at", [{"count": 40}, [{"bus": "1", "azimuth_deg": 0}, {"bus": "1", "tilt_deg": 10}]])
def test_arrays_that_face_south_by_default_are_refused_in_the_south(folder: Path, at: Any) -> None:
    with pytest.raises(PlaceError, match=r"by default south, and at -33\.9 degrees the sun is north") as error:
        _southern(folder, at, tilt_deg=[0, 30])
    assert error.value.problems[0][0] == ("over", 0)
    assert _southern(folder, at, latitude_deg=33.9, tilt_deg=[0, 30])


@pytest.mark.parametrize(
    ("at", "plane"),
    [
        ({"count": 40}, {"tilt_deg": 30, "azimuth_deg": 180}),
        ({"count": 40}, {"tilt_deg": 0}),
        ([{"bus": "1", "azimuth_deg": 10}, {"bus": "1", "tilt_deg": 0}], {"tilt_deg": 30}),
    ],
)
def test_arrays_that_say_where_they_face_or_lie_flat_may_stand_in_the_south(folder: Path, at: Any, plane: Any) -> None:
    assert _southern(folder, at, **plane)


def test_what_is_computed_ahead_is_that_of_its_instant_in_any_order() -> None:
    """In each of two blocks, over the edge between them, and back."""
    asked: list[int] = []

    def values(instants_ns: Instants) -> FloatArray:
        asked.append(instants_ns.size)
        return np.column_stack([instants_ns / 1e9, -instants_ns / 1e9])

    ahead = Lookahead(60 * S, 2, values)
    for k in (0, 1, 255, 256, 300, 254, 256):
        assert ahead.at(k * 60 * S).tolist() == [60.0 * k, -60.0 * k]
    assert asked == [256] * 4
    assert Lookahead(60 * S, 100_000, lambda t: np.ones((t.size, 100_000))).at(0).size == 100_000
