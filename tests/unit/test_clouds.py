"""Clouds: alike where places are near, moving with the wind, with ramps that are seen in nature."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from pydantic import ValidationError

from derloop.kind import Context
from federates.der.clouds import CloudField, Clouds, threshold

S = 10**9
START = np.zeros(1, np.int64)
DISTANCE_M = np.array([0.0, 100.0, 200.0, 400.0, 600.0, 800.0, 1200.0])


def field(places_m: object, seed: int = 7, **clouds: object) -> CloudField:
    context = Context("sky", Path(), datetime(2025, 7, 15, tzinfo=UTC), S, 86400 * S, seed)
    return CloudField(Clouds.model_validate(clouds), context, np.array(places_m, float))


@pytest.mark.parametrize("along", [(1.0, 0.0), (0.0, 1.0)])
def test_correlation_falls_with_distance_as_the_field_has_it(along: tuple[float, float]) -> None:
    """Edges so soft that the cloud is linear in the field: then its correlation is exp(-d^2 / (2 size^2)).

    Over 400 seeds with five instants each, the standard error of a correlation is below 0.03.
    """
    places = DISTANCE_M[:, None] * np.array(along)
    skies = [field(places, seed, size_m=400.0, softness=2.0, cover_pu=0.5) for seed in range(400)]
    seen = np.concatenate([sky.clearness(1000 * S * np.arange(5)) for sky in skies])
    found = np.corrcoef(seen.T)[0]
    assert_allclose(found, np.exp(-(DISTANCE_M**2) / (2 * 400.0**2)), atol=0.09)
    assert (np.diff(found[:5]) < -0.02).all()


def test_larger_clouds_are_alike_over_larger_distances() -> None:
    def alike(size_m: float) -> float:
        seen = [field([[0, 0], [300, 0]], k, size_m=size_m).clearness(START)[0] for k in range(300)]
        return float(np.corrcoef(np.array(seen).T)[0, 1])

    assert alike(1500.0) > alike(400.0) + 0.1 > alike(150.0) + 0.2


def test_fleet_is_smoother_than_one_roof() -> None:
    """Ramps of many places partly cancel: M. Lave, J. Kleissl, E. Arias-Castro, Solar Energy 86, 2012."""
    places = np.random.default_rng(2).uniform(0, 2000, (100, 2))
    clouds = field(places, cover_pu=0.5)
    seen = clouds.clearness(S * np.arange(3600))
    one, all_of_them = np.abs(np.diff(seen[:, 0])).max(), np.abs(np.diff(seen.mean(axis=1))).max()
    assert all_of_them < 0.4 * one


def test_ramps_of_a_second_are_those_of_single_clouds() -> None:
    """One pyranometer sees up to some 10 to 20 % of clear sky in a second (M. Lave, J. Kleissl and E. Arias-Castro,
    Solar Energy 86, 2012); nearly all seconds see hardly any.
    """
    skies = [field([[0, 0]], seed) for seed in range(20)]
    seen = np.array([sky.clearness(S * np.arange(1200))[:, 0] for sky in skies])
    ramps = np.abs(np.diff(seen, axis=1))
    assert 0.02 < ramps.max() < 0.2
    assert np.quantile(ramps, 0.5) < 0.01


@pytest.mark.parametrize("cover", [0.1, 0.4, 0.8])
def test_mean_of_the_light_is_kept_where_the_cover_follows_the_weather(cover: float) -> None:
    places = np.random.default_rng(3).uniform(0, 200_000, (20_000, 2))
    clouds = field(places, cover_pu="weather", depth_pu=0.8, size_m=300.0, softness=0.5)
    assert clouds.clearness(START, np.array([cover])).mean() == pytest.approx(1.0 - 0.8 * cover, abs=0.02)


def test_threshold_of_all_and_of_no_cover() -> None:
    assert (threshold(0.0), threshold(1.0), threshold(0.5)) == (np.inf, -np.inf, 0.0)


@pytest.mark.parametrize("cover", [-0.1, 1.1, "file", None])
def test_cover_that_is_none_is_refused(cover: object) -> None:
    with pytest.raises(ValidationError, match="cover_pu"):
        Clouds.model_validate({"cover_pu": cover})
