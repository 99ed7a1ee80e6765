"""Two runs are compared down to the first instant, signal and element at which they part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from derloop.contract import FloatArray, Interface, Port
from derloop.results.compare import Tolerance, Tolerances, compare
from derloop.results.recorder import Recorder
from derloop.results.signals import Piece, Signal
from derloop.results.store import RunFolder, finish

SECOND = 1_000_000_000
NODES = ("671.1", "671.2", "671.3")


class Made:
    """A source made of arrays; given out in pieces of `piece` instants."""

    def __init__(
        self, series: Mapping[str, FloatArray], *, every_s: float = 900, start: int = 0, piece: int = 7
    ) -> None:
        self._series, self._step_ns, self._start, self._piece = series, int(every_s * 1e9), start, piece
        self.changed: dict[str, Signal] = {}

    def signals(self) -> tuple[Signal, ...]:
        return tuple(self.changed.get(name, self._signal(name)) for name in self._series)

    def _signal(self, name: str) -> Signal:
        federate, port = name.split(".")
        return Signal(federate, port, "pu", NODES[: self._series[name].shape[1]], self._step_ns)

    def batches(self, name: str) -> Iterator[Piece]:
        values = self._series[name]
        time_ns = (np.arange(len(values)) + self._start) * self._step_ns
        for at in range(0, len(values), self._piece):
            yield time_ns[at : at + self._piece], values[at : at + self._piece]


def flat(instants: int = 96, size: int = 3) -> FloatArray:
    return np.full((instants, size), 1.00213)


def changed(*changes: tuple[int, int, float], instants: int = 96) -> FloatArray:
    values = flat(instants)
    for row, element, value in changes:
        values[row, element] = value
    return values


def test_equal_runs_have_no_difference() -> None:
    comparison = compare(Made({"grid.v_pu": flat()}), Made({"grid.v_pu": flat()}))
    assert comparison.same
    assert comparison.first is None
    assert comparison.largest == 0
    assert str(comparison) == "no difference in 1 signals (largest, and allowed: 0)"


def test_the_first_difference_is_told_in_one_line() -> None:
    a, b = Made({"grid.v_pu": flat()}), Made({"grid.v_pu": changed((25, 1, 1.00214), (30, 0, 7))})
    comparison = compare(a, b, Tolerances({"*": Tolerance(abs=1e-6)}))
    assert str(comparison).splitlines() == [
        (
            "first difference at 06:15:00 (22500 s): grid.v_pu at '671.2': 1.00213 against 1.00214 "
            "(1e-05 apart; allowed 1e-06)"
        ),
        "  grid.v_pu: 2 of 3 elements differ at 2 of 96 instants, by 6 pu at most",
    ]


def test_the_earliest_instant_comes_first_and_then_the_order_of_the_federates_ports_and_elements() -> None:
    same = {"pv.q": flat(), "pv.p": flat(), "grid.v": flat()}
    early, late = changed((10, 2, 2), (10, 1, 2)), changed((40, 0, 2))
    for series, expected in (
        ({"pv.q": late, "grid.v": early}, ("grid.v", "671.2")),
        ({"pv.p": early, "grid.v": early}, ("pv.p", "671.2")),
        ({"pv.q": early, "pv.p": early}, ("pv.q", "671.2")),
    ):
        first = compare(Made(same), Made({**same, **series})).first
        assert first is not None
        assert (first.signal.name, first.label) == expected
        assert first.time_ns == 9000 * SECOND


def test_the_size_of_the_pieces_makes_no_difference() -> None:
    a, b = {"grid.v": flat()}, {"grid.v": changed((25, 1, 2.0), (80, 2, 3.0))}
    found = {str(compare(Made(a, piece=p), Made(b, piece=q))) for p in (1, 7, 96, 200) for q in (1, 13, 96)}
    assert len(found) == 1


@pytest.mark.parametrize(
    ("tolerance", "other", "same"),
    [
        (Tolerance(), np.nextafter(1.00213, 2), False),
        (Tolerance(abs=0.01), 1.01, True),
        (Tolerance(abs=0.001), 1.01, False),
        (Tolerance(rel=0.01), 1.012, True),
        (Tolerance(rel=0.001), 1.012, False),
        (Tolerance(abs=0.01, rel=1e-9), 1.012, True),
        (Tolerance(abs=1e300, rel=1), np.nan, False),
        (Tolerance(abs=1e300, rel=1), np.inf, False),
        (Tolerance(abs=np.inf), np.inf, False),
    ],
)
def test_values_agree_within_the_absolute_or_the_relative_tolerance(
    tolerance: Tolerance, other: float, same: bool
) -> None:
    b = Made({"grid.v": changed((3, 1, other))})
    for one, two in ((Made({"grid.v": flat()}), b), (b, Made({"grid.v": flat()}))):
        assert compare(one, two, Tolerances({"*": tolerance})).same is same


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -0.0])
def test_nan_agrees_with_nan_and_an_infinity_with_itself(value: float) -> None:
    a = Made({"grid.v": changed((3, 1, value))})
    assert compare(a, a).same
    assert compare(a, a).largest == 0


def test_nan_against_a_number_is_told() -> None:
    comparison = compare(Made({"grid.v": flat()}), Made({"grid.v": changed((3, 1, np.nan))}))
    assert str(comparison.first) == "00:45:00 (2700 s): grid.v at '671.2': 1.00213 against nan (not comparable)"
    assert comparison.largest == np.inf


def test_the_largest_difference_is_known_also_where_it_is_allowed() -> None:
    b = Made({"grid.v": changed((3, 1, 1.00263), (9, 0, 1.00223)), "pv.p": flat()})
    comparison = compare(Made({"grid.v": flat(), "pv.p": flat()}), b, Tolerances({"*": Tolerance(abs=0.1)}))
    assert comparison.same
    assert {s.signal.name: s.largest for s in comparison.signals} == pytest.approx({"grid.v": 5e-4, "pv.p": 0})


@pytest.mark.parametrize(("b", "same"), [(-1.04, True), (-1.051, True), (-1.06, False), (-0.951, True), (-0.94, False)])
def test_a_relative_tolerance_is_of_the_larger_size_also_below_zero(b: float, same: bool) -> None:
    made = (Made({"grid.p": np.full((1, 1), value)}) for value in (-1.0, b))
    assert compare(*made, Tolerances({"*": Tolerance(rel=0.05)})).same is same


def test_the_largest_difference_is_that_of_all_signals() -> None:
    a = Made({"grid.v": flat(), "pv.p": flat(), "ev.p": flat()})
    b = Made({"grid.v": flat(), "pv.p": flat() + 0.5, "ev.p": flat() + 0.25})
    assert compare(a, b).largest == pytest.approx(0.5)


def test_the_first_pattern_that_matches_gives_the_tolerance() -> None:
    tolerances = Tolerances({"grid.*": Tolerance(abs=1), "*.v": Tolerance(abs=2)})
    assert tolerances.of("grid.v").abs == 1
    assert tolerances.of("pv.v").abs == 2
    assert tolerances.of("pv.p") == Tolerance()


def test_values_that_look_alike_are_shown_with_the_digits_that_tell_them_apart() -> None:
    close = compare(Made({"grid.v": flat()}), Made({"grid.v": changed((0, 0, 1.002130001))}))
    assert "1.00213 against 1.002130001" in str(close)
    closest = compare(Made({"grid.v": flat()}), Made({"grid.v": changed((0, 0, np.nextafter(1.00213, 2)))}))
    assert "1.00213 against 1.0021300000000002" in str(closest)


def test_a_signal_that_only_one_run_has_is_named() -> None:
    comparison = compare(Made({"grid.v": flat(), "pv.p": flat()}), Made({"grid.v": flat(), "ev.p": flat()}))
    assert not comparison.same
    assert comparison.first is None
    assert comparison.unlike == ("pv.p: only the first has it", "ev.p: only the second has it")


def test_signals_that_only_one_run_has_can_be_left_out_but_not_all() -> None:
    both, more, other = Made({"grid.v": flat()}), Made({"grid.v": flat(), "pv.p": flat()}), Made({"ev.p": flat()})
    assert compare(both, more, common=True).same
    assert compare(both, other, common=True).unlike == ("there is no signal that both have",)


def test_other_units_and_labels_are_named_and_not_compared() -> None:
    a = Made({"grid.v": flat(), "grid.w": flat(), "pv.p": flat(), "ev.p": flat()})
    b = Made({"grid.v": flat(), "grid.w": flat(), "pv.p": flat(size=2), "ev.p": flat()})
    b.changed = {"grid.v": replace(a.signals()[0], unit="V"), "grid.w": replace(a.signals()[1], labels=("a", "b", "c"))}
    assert compare(a, b).unlike == (
        "grid.v: in pu against V",
        "grid.w: element 0 is '671.1' against 'a'",
        "pv.p: 3 elements against 2; only the first has '671.3'",
    )


def test_a_run_that_ended_early_parts_where_it_ends() -> None:
    comparison = compare(Made({"grid.v": flat(96)}), Made({"grid.v": flat(90)}))
    assert str(comparison).splitlines() == [
        "first difference at 22:30:00 (81000 s): grid.v: only the first has this instant",
        "  grid.v: 6 instants only in the first",
    ]
    other = compare(Made({"grid.v": flat(95)}), Made({"grid.v": flat(96)}))
    assert other.signals[0].only_b == 1
    assert "only the second has this instant" in str(other)


def test_a_run_without_any_instant_is_compared() -> None:
    assert compare(Made({"grid.v": flat(0)}), Made({"grid.v": flat(0)})).same
    assert compare(Made({"grid.v": flat(0)}), Made({"grid.v": flat(5)})).signals[0].only_b == 5


def test_runs_with_other_steps_are_compared_at_the_instants_they_share() -> None:
    a, b = Made({"grid.v": flat(20)}, every_s=0.25), Made({"grid.v": changed((9, 0, 2), instants=10)}, every_s=0.5)
    (found,) = compare(a, b).signals
    assert (found.instants, found.only_a, found.only_b, found.differing_instants) == (10, 10, 0, 1)
    assert str(found.first) == "00:00:00.25 (0.25 s): grid.v: only the first has this instant"


def test_a_value_that_differs_before_an_instant_is_missing_comes_first() -> None:
    a, b = Made({"grid.v": flat(30)}, start=0), Made({"grid.v": changed((4, 0, 2.0), instants=20)}, start=0)
    first = compare(a, b).first
    assert first is not None
    assert (first.time_ns, first.b) == (3600 * SECOND, 2.0)


def test_time_beyond_a_day_shows_the_day() -> None:
    b = Made({"grid.v": changed((97, 0, 2.0), instants=100)})
    assert "at 1 d 00:15:00 (87300 s)" in str(compare(Made({"grid.v": flat(100)}), b))


@pytest.mark.parametrize("finished", [False, True])
def test_recorded_runs_are_compared(tmp_path: Path, finished: bool) -> None:
    for name, kick in (("a", 0.0), ("b", 1e-9)):
        recorder = Recorder(tmp_path / name, {"grid": Interface(SECOND, outputs={"v_pu": Port("pu", NODES)})})
        for step in range(1000):
            recorder.observe("grid", step * SECOND, {"v_pu": np.ones(3) + kick * (step >= 600)})
        recorder.close()
    if finished:
        finish(tmp_path / "b")
    a, b = RunFolder(tmp_path / "a"), RunFolder(tmp_path / "b")
    assert compare(a, a).same
    first = compare(a, b).first
    assert first is not None
    assert (first.time_ns, first.label) == (600 * SECOND, "671.1")
