"""Loads that follow a profile."""

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pydantic import ValidationError

from derloop.kind import Context, FeederLoad, PlaceError, Terminal
from federates.der.load import LoadGroup, LoadSettings, terminals
from federates.der.profile import ProfileError

S = 10**9
NAMES = {"671": 1155.0, "632_671a": 8.5, "632_671b": 33.0, "645b": 170.0}
FEEDER = SimpleNamespace(
    buses={}, loads={name: FeederLoad(name, name[:3], (1, 2), "wye", kw, 0.5 * kw) for name, kw in NAMES.items()}
)
NOISY = {"variation": {"sigma_pu": 0.1, "period_s": 600}}


def context(folder: Path = Path(), seed: int = 7, feeder: Any = FEEDER) -> Context:
    start = datetime(2025, 7, 15, tzinfo=UTC)
    return Context("load", folder, start, 60 * S, 86400 * S, seed, feeder=feeder)


def group(settings: dict[str, Any], **kwargs: Any) -> LoadGroup:
    return LoadGroup(LoadSettings.model_validate(settings), context(**kwargs))


def test_patterns_name_loads_in_the_order_of_the_feeder() -> None:
    chosen = terminals(LoadSettings(loads=("632_671*", "671")), context())
    assert [t.label for t in chosen] == ["671", "632_671a", "632_671b"]
    assert chosen[0] == Terminal("671", "671", (1, 2), chosen[0].rated_kva, draws=True, element="671")
    assert chosen[0].rated_kva == pytest.approx(1291.33, abs=0.01)  # 1155 kW and half as many kvar
    assert len(terminals(LoadSettings(), context())) == 4


def test_pattern_that_names_no_load_is_refused_with_what_is_possible() -> None:
    with pytest.raises(PlaceError) as error:
        terminals(LoadSettings(loads=("671", "672", "x*")), context())
    assert [path for path, _ in error.value.problems] == [("loads", 1), ("loads", 2)]
    assert "did you mean '671'?" in error.value.problems[0][1]


def test_group_without_a_feeder_is_refused() -> None:
    with pytest.raises(PlaceError):
        terminals(LoadSettings(), context(feeder=None))


def test_powers_are_nominal_times_scale_and_profile(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("time_s,home_pu\n0,0.5\n86400,1.5\n")
    profile = {"file": "p.csv", "column": "home_pu"}
    loads = group({"loads": ["671", "645B"], "profile": profile, "scale": 0.8}, folder=tmp_path)
    out = loads.step(43200 * S, {})
    assert_allclose(out["p_kw"], [924.0, 136.0])
    assert_allclose(out["q_kvar"], [462.0, 68.0])
    assert_allclose(loads.start()["p_kw"], [462.0, 68.0])


def test_without_a_profile_loads_are_nominal() -> None:
    assert group({}).step(5 * S, {})["p_kw"].tolist() == list(NAMES.values())


def test_profile_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="is no file"):
        group({"profile": {"file": "p.csv", "column": "x"}}, folder=tmp_path)


def test_variation_has_the_standard_deviation_asked_for_and_keeps_the_power_factor() -> None:
    loads = group(NOISY)
    p, q = (np.array([loads.step(t * 60 * S, {})[port] for t in range(3000)]) for port in ("p_kw", "q_kvar"))
    share = p / np.array([*NAMES.values()])
    assert_allclose(share.mean(axis=0), 1.0, atol=0.02)
    assert_allclose(share.std(axis=0), 0.1, rtol=0.1)
    assert_allclose(q, 0.5 * p)
    assert np.abs(np.corrcoef(share.T) - np.eye(4)).max() < 0.2


def test_variation_is_smooth() -> None:
    loads = group(NOISY)
    share = np.array([loads.step(t * S, {})["p_kw"][0] for t in range(600)]) / 1155.0
    # steepest possible: sigma sqrt(2/16) * 16 * 2 pi / 300 s
    assert np.abs(np.diff(share)).max() < 0.1 * np.sqrt(2 / 16) * 16 * 2 * np.pi / 300


def test_variation_never_turns_a_load_into_a_source() -> None:
    loads = group({"variation": {"sigma_pu": 1.0, "period_s": 600}})
    assert min(loads.step(t * 60 * S, {})["p_kw"].min() for t in range(500)) == 0.0


def test_variation_depends_on_time_seed_and_name_alone() -> None:
    loads, again, other = group(NOISY), group(NOISY), group(NOISY, seed=8)
    backwards = [again.step(t * 60 * S, {})["p_kw"] for t in reversed(range(10))][::-1]
    for t, values in enumerate(backwards):
        assert_array_equal(loads.step(t * 60 * S, {})["p_kw"], values)
        assert_array_equal(loads.step(t * 60 * S, {})["p_kw"], values)
        assert (other.step(t * 60 * S, {})["p_kw"] != values).all()
    alone = group({"loads": ["645b"], **NOISY})
    assert alone.step(60 * S, {})["p_kw"][0] == backwards[1][3]


def test_forty_loads_do_what_each_of_them_does_alone() -> None:
    loads = {f"l{i}": FeederLoad(f"l{i}", "671", (1,), "wye", 1.0 + i, 0.3 * i) for i in range(40)}
    feeder = SimpleNamespace(buses={}, loads=loads)
    out = group(NOISY, feeder=feeder).step(777 * S, {})
    for i, name in enumerate(loads):
        single = group({"loads": [name], **NOISY}, feeder=feeder).step(777 * S, {})
        assert (out["p_kw"][i], out["q_kvar"][i]) == (single["p_kw"][0], single["q_kvar"][0])


def test_ports_carry_units_and_names_of_loads() -> None:
    interface = group({"loads": ["671"], "step_s": 900}).interface
    assert {name: (port.unit, port.labels) for name, port in interface.outputs.items()} == {
        "p_kw": ("kW", ("671",)),
        "q_kvar": ("kvar", ("671",)),
    }
    assert not interface.inputs
    assert interface.step_ns == 900 * S


@pytest.mark.parametrize("wrong", [{"loads": []}, {"scale": -1}, {"variation": {"sigma_pu": 2}}, {"step_s": 0}])
def test_impossible_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        LoadSettings.model_validate(wrong)
