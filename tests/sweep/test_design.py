"""Which combinations a sweep tries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from derloop import document
from derloop.sweep.design import combinations, latin_hypercube
from derloop.sweep.models import SweepFile
from derloop.validation import typed_model

LOG = {"path": "a", "low": 1, "high": 100, "scale": "log"}


def sweep(**said: Any) -> SweepFile:
    return SweepFile.model_validate({"name": "s", "scenario": "s.json", **said})


def test_a_grid_has_every_value_with_every_other_the_last_parameter_first() -> None:
    asked = sweep(vary=[{"path": "a", "values": [1, 2]}, {"path": "b", "values": ["x", None]}])
    assert combinations(asked) == [(1, "x"), (1, None), (2, "x"), (2, None)]


def test_a_list_has_the_first_values_together_then_the_second() -> None:
    asked = sweep(design="list", vary=[{"path": "a", "values": [1, 2]}, {"path": "b", "values": ["x", "y"]}])
    assert combinations(asked) == [(1, "x"), (2, "y")]


def test_a_list_of_unequal_lengths_is_refused_with_the_lengths() -> None:
    asked = sweep(design="list", vary=[{"path": "a", "values": [1, 2]}, {"path": "b", "values": ["x"]}])
    with pytest.raises(ValueError, match="a 2, b 1"):
        combinations(asked)


def test_every_combination_is_run_with_every_seed() -> None:
    asked = sweep(vary=[{"path": "a", "values": [1, 2]}], seeds=[7, 9])
    assert combinations(asked) == [(1, 7), (1, 9), (2, 7), (2, 9)]
    assert combinations(sweep(seeds=[7, 9])) == [(7,), (9,)]


def test_a_range_is_divided_on_its_scale_with_its_ends() -> None:
    assert combinations(sweep(vary=[{**LOG, "count": 3}])) == [(1.0,), (10.0,), (100.0,)]
    assert combinations(sweep(vary=[{**LOG, "scale": "linear", "count": 3}])) == [(1.0,), (50.5,), (100.0,)]
    assert combinations(sweep(vary=[{"path": "a", "low": 1, "high": 3, "whole": True}])) == [(1,), (2,), (3,)]


def test_a_parameter_of_several_paths_is_read_as_it_stands_in_a_file() -> None:
    text = '{"name": "s", "scenario": "s.json", "vary": [{"path": ["a.b", "/c/0"], "values": [1]}]}'
    found = typed_model(SweepFile, document.parse(text), "s.sweep.json")
    assert found.vary[0].paths == ("a.b", "/c/0")


@pytest.mark.parametrize("samples", [1, 5, 40])
def test_a_latin_hypercube_has_one_sample_in_each_part_of_each_dimension(samples: int) -> None:
    parts = np.floor(latin_hypercube(samples, 3, seed=4) * samples)
    for part in parts.T:
        assert sorted(part) == list(range(samples))


def test_whole_numbers_are_sampled_on_their_scale_too() -> None:
    size = {"path": "a", "low": 1, "high": 1000, "whole": True, "scale": "log"}
    found = sorted(value for (value,) in combinations(sweep(vary=[size], design="latin-hypercube", samples=400)))
    assert 1 == found[0] < found[-1] <= 1000
    assert found[200] == pytest.approx(1001**0.5, abs=1)  # half of them in the lower half of the scale
    assert all(isinstance(value, int) for value in found)


def test_a_latin_hypercube_is_the_same_with_the_same_seed_and_pairs_differently_with_another() -> None:
    assert np.array_equal(latin_hypercube(20, 2, 1), latin_hypercube(20, 2, 1))
    assert not np.array_equal(latin_hypercube(20, 2, 1), latin_hypercube(20, 2, 2))
    one, other = latin_hypercube(20, 2, 1).T
    assert not np.array_equal(np.argsort(one), np.argsort(other))  # else it would be a diagonal


def test_samples_lie_in_their_ranges_and_values_get_equal_shares() -> None:
    vary = [LOG, {"path": "b", "low": 1, "high": 4, "whole": True}, {"path": "c", "values": ["x", "y"]}]
    found = combinations(sweep(design="latin-hypercube", samples=8, vary=vary))
    assert sum(a < 10.0 for a, _, _ in found) == 4  # half of a range from 1 to 100 by its logarithm
    assert sorted(b for _, b, _ in found) == [1, 1, 2, 2, 3, 3, 4, 4]
    assert sorted(c for _, _, c in found) == ["x"] * 4 + ["y"] * 4


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({}, "every run would be the same"),
        ({"vary": [{"path": "a"}]}, "either values, or low and high"),
        ({"vary": [{"path": "a", "values": [1], "low": 0, "high": 1}]}, "either values, or low and high"),
        ({"vary": [{"path": "a", "low": 2, "high": 1, "count": 2}]}, "low 2 is not below high 1"),
        ({"vary": [{**LOG, "low": 0, "count": 3}]}, "no place on a logarithmic scale"),
        ({"vary": [{"path": "a", "low": 0.5, "high": 2, "whole": True}]}, "must be whole numbers"),
        ({"vary": [{"path": "a", "low": 0, "high": 1}]}, "needs a count of values"),
        ({"vary": [{"path": "a", "values": [1]}] * 2}, "has a more than once"),
        ({"seeds": [1], "design": "latin-hypercube", "samples": 5}, "no parameter, and a Latin hypercube needs one"),
        ({"seeds": [3, 1, 2, 1, 3, 1]}, "seeds has 1, 3 more than once"),
        ({"vary": [{"path": "a", "values": [1, 2, 1.0]}]}, "vary has 1.0 more than once in a"),
        ({"vary": [{"path": "a", "values": [{"b": 1, "c": 2}, {"c": 2, "b": 1}]}]}, "more than once in a"),
        ({"vary": [{"path": [], "values": [1]}]}, "is empty: a parameter needs the path"),
        ({"vary": [{"path": "a", "values": [1]}], "samples": 3}, "samples belongs to the design latin-hypercube"),
        ({"vary": [{**LOG, "count": 3}], "samples": 3, "design": "latin-hypercube"}, "a has a count"),
    ],
)
def test_what_contradicts_itself_is_refused(said: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        sweep(**said)


def test_values_may_stand_twice_where_they_make_different_runs_and_true_is_no_one() -> None:
    listed = sweep(design="list", vary=[{"path": "a", "values": [1, 1]}, {"path": "b", "values": [1, 2]}])
    assert combinations(listed) == [(1, 1), (1, 2)]
    sampled = sweep(design="latin-hypercube", samples=2, vary=[{"path": "a", "values": [5, 5]}])
    assert combinations(sampled) == [(5,), (5,)]
    assert combinations(sweep(vary=[{"path": "a", "values": [1, True, "1"]}])) == [(1,), (True,), ("1",)]


def test_more_runs_than_anybody_waits_for_are_refused_before_they_are_listed() -> None:
    whole = {"low": 1, "high": 1e12, "whole": True}
    with pytest.raises(ValueError, match="more than 100,000"):
        combinations(sweep(vary=[{"path": "a", **whole}]))
    with pytest.raises(ValueError, match="1,000,000 runs"):
        combinations(sweep(vary=[{"path": p, "low": 1, "high": 1000, "whole": True} for p in "ab"]))
