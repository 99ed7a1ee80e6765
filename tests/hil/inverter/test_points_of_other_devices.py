"""Points whose registers are not as SunSpec has them, and the fewest reads that fetch some."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.sunspec.codec import decode, encode
from hil.sunspec.errors import SunSpecMapError, SunSpecValueError
from hil.sunspec.points import NO_PATTERN, Manner, Point
from hil.sunspec.reads import ReadPlan
from hil.sunspec.register_map import RegisterMap, Run
from hil.sunspec.table import PointTable

LENGTHS = {
    "plain-int16": 1,
    "plain-uint16": 1,
    "plain-int32": 2,
    "plain-uint32": 2,
    "plain-uint64": 4,
    "float32": 2,
    "float64": 4,
}


def _point(kind: str, manner: Manner = Manner(), *, address: int = 0, exponent: int = 0, absent: int = -1) -> Point:  # noqa: B008
    return Point(f"p{address}", address, LENGTHS[kind], kind, exponent, None, True, "W", {}, absent, manner)


def _table(point: Point, words: tuple[int, ...]) -> float:
    return float(PointTable([[point]], [[0]]).decode(np.array([words], dtype=np.uint16))[0, 0])


@pytest.mark.parametrize(
    ("point", "words", "value"),
    [
        (_point("plain-int32", Manner(low_word_first=True)), (0xFFFE, 0xFFFF), -2.0),
        (_point("plain-uint32", Manner(low_word_first=True)), (0x0001, 0x0002), 131073.0),
        (_point("plain-uint32", Manner(low_byte_first=True)), (0x0000, 0x0100), 1.0),
        (_point("plain-uint64", Manner(low_word_first=True)), (1, 0, 0, 0), 1.0),
        (_point("float32"), (0x3FC0, 0x0000), 1.5),
        (_point("float32", Manner(low_word_first=True)), (0x0000, 0x3FC0), 1.5),
        (_point("float32", Manner(low_word_first=True, low_byte_first=True)), (0x0000, 0xC03F), 1.5),
        (_point("plain-int16", exponent=-1), (0xFFF6,), -1.0),
        (_point("plain-uint16", Manner(factor=Fraction(1, 4), offset=Fraction(-40))), (200,), 10.0),
        (_point("plain-uint16", Manner(factor=Fraction(1000))), (5,), 5000.0),
        (_point("plain-int16", Manner(offset=Fraction(-40))), (50,), 10.0),
        (_point("float32", Manner(factor=Fraction(1000))), (0x3FC0, 0x0000), 1500.0),
        (_point("float32", Manner(offset=Fraction(-40))), (0x4248, 0x0000), 10.0),
        (_point("plain-int16"), (0x8000,), -32768.0),
        (_point("plain-uint16"), (0xFFFF,), 65535.0),
        (_point("plain-uint64"), (0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF), 2.0**64 - 1),
    ],
)
def test_one_value_and_a_table_of_many_read_the_same(point: Point, words: tuple[int, ...], value: float) -> None:
    assert decode(point, words) == pytest.approx(value, rel=1e-15)
    assert _table(point, words) == value
    if value < 2**53:
        assert encode(point, value).registers == words
    registers = np.zeros((1, len(words)), dtype=np.uint16)
    if point.type != "plain-uint64":  # floating point ends at 2**53
        PointTable([[point]], [[0]]).encode(np.array([[value]]), registers)
        assert tuple(registers[0].tolist()) == words


@pytest.mark.parametrize("sign", [0x7FEF, 0xFFEF])
def test_a_float_that_its_factor_takes_beyond_any_number_is_none(sign: int) -> None:
    """As what is no measurement may be; it ended in an OverflowError."""
    point, words = _point("float64", Manner(factor=Fraction(1000))), (sign, 0xFFFF, 0xFFFF, 0xFFFF)
    assert decode(point, words) is None
    assert math.isnan(_table(point, words))


def test_a_whole_number_is_written_as_its_floating_point_is() -> None:
    point = _point("float32", Manner(factor=Fraction(1000)))
    assert encode(point, 1500) == encode(point, 1500.0)
    assert encode(point, 1500).registers == (0x3FC0, 0x0000)


def test_an_absent_pattern_of_a_map_is_no_number() -> None:
    point = _point("plain-int16", absent=0x7FFF)
    assert decode(point, (0x7FFF,)) is None
    assert math.isnan(_table(point, (0x7FFF,)))
    assert encode(point, None).registers == (0x7FFF,)


def test_without_an_absent_pattern_nothing_can_be_written_as_missing() -> None:
    assert _point("plain-int16").absent == NO_PATTERN
    with pytest.raises(SunSpecValueError, match="no value says that it is not implemented"):
        encode(_point("plain-int16"), None)
    with pytest.raises(SunSpecValueError, match="out of range"):
        PointTable([[_point("plain-int16")]], [[0]]).encode(np.array([[math.nan]]), np.zeros((1, 1), dtype=np.uint16))


@pytest.mark.parametrize("value", [-0.1, 100.1])
def test_a_value_beyond_the_limits_of_a_map_is_refused(value: float) -> None:
    point = _point("plain-int16", Manner(low=0.0, high=100.0), exponent=-1)
    assert encode(point, 100.0).registers == (1000,)
    with pytest.raises(SunSpecValueError, match=r"out of range \(0 to 100 W\)"):
        encode(point, value)


def test_holding_and_input_registers_of_one_address_are_two() -> None:
    holding = _point("plain-uint16", address=5)
    read_only = Point("in", 5, 1, "plain-uint16", 0, None, False, "", {}, -1, Manner(function=4))
    device = RegisterMap(5, (), [holding, read_only], [Run(3, 5, 6), Run(4, 5, 6)])
    image = np.array([11, 22], dtype=np.uint16)
    assert (device.value("p5", image), device.value("in", image)) == (11, 22)
    assert ReadPlan(device, ["in", "p5"]).requests == ((5, 1, 3), (5, 1, 4))
    assert ReadPlan(device, ["in", "p5"]).positions() == (1, 0)


def test_a_register_outside_of_the_map_is_named() -> None:
    with pytest.raises(SunSpecMapError, match=r"no register 6 \(function 3\)"):
        RegisterMap(5, (), [], [Run(3, 5, 6), Run(4, 5, 9)]).index(3, 6)


@st.composite
def _scattered(draw: st.DrawFn) -> tuple[RegisterMap, int]:
    """Return a map of up to eight points of one to four registers, in runs with gaps, and a limit of registers."""
    points, runs, address = [], [], 0
    for _ in range(draw(st.integers(1, 3))):
        start = address
        for _ in range(draw(st.integers(1, 3))):
            address += draw(st.integers(0, 3))
            kind = draw(st.sampled_from(["plain-int16", "plain-int32", "plain-uint64"]))
            points.append(_point(kind, address=address))
            address = points[-1].end
        runs.append(Run(3, start, address))
        address += draw(st.integers(1, 3))
    return RegisterMap(0, (), points, runs), draw(st.integers(4, 12))


def _fewest(device: RegisterMap, limit: int) -> int:
    """Return how many reads are needed, by trying every way to part the points in two (dynamic programming)."""
    points = sorted(device.points.values(), key=lambda p: p.address)
    best = [0] + [len(points)] * len(points)
    for end in range(1, len(points) + 1):
        for start in range(end):
            first, last = points[start], points[end - 1]
            together = last.end - first.address <= limit
            if together and device.run_of(3, first.address) == device.run_of(3, last.address):
                best[end] = min(best[end], best[start] + 1)
    return best[-1]


@settings(max_examples=150, deadline=None)
@given(_scattered())
def test_a_plan_has_the_fewest_reads_that_there_can_be(case: tuple[RegisterMap, int]) -> None:
    device, limit = case
    plan = ReadPlan(device, list(device.points), limit)
    assert len(plan.requests) == _fewest(device, limit)
    for address, count, _ in plan.requests:
        assert count <= limit
        assert device.run_of(3, address) == device.run_of(3, address + count - 1)
    memory = np.arange(200, dtype=np.uint16)
    fetched = np.concatenate([memory[address : address + count] for address, count, _ in plan.requests])
    for point, at in zip(device.points.values(), plan.positions(), strict=True):
        assert at is not None
        assert fetched[at : at + point.length].tolist() == list(range(point.address, point.end))
