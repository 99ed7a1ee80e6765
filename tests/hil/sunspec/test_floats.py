"""Points of type float32 and float64 in tables of many devices."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hil.sunspec.errors import SunSpecValueError
from hil.sunspec.image import build_image
from hil.sunspec.points import RegisterArray
from hil.sunspec.table import PointTable

MAP, IMAGE = build_image({113: {"W": 1.0, "St": 4}, 103: {"W": 1, "W_SF": 0}})
NAMES = ("113.W", "113.St", "113.Hz", "103.W")


def _registers() -> RegisterArray:
    return np.stack([IMAGE, IMAGE])


def test_floats_and_integers_stand_in_one_table() -> None:
    table, registers = PointTable.of_image([MAP, MAP], NAMES), _registers()
    values = np.array([[-1234.5, 4.0, 59.75, -7.0], [0.0, 8.0, np.nan, 3.0]])
    table.encode(values, registers)
    assert np.array_equal(table.decode(registers), values, equal_nan=True)
    assert [MAP.value(name, registers[0]) for name in NAMES] == [-1234.5, 4, 59.75, -7]
    assert MAP.value("113.Hz", registers[1]) is None


def test_a_float_that_says_not_a_number_or_infinity_is_not_implemented() -> None:
    registers = _registers()
    start = MAP["113.W"].address - MAP.base
    registers[0, start : start + 2] = (0x7F80, 0)
    registers[1, start : start + 2] = (0xFFC0, 1)
    assert np.isnan(PointTable.of_image([MAP, MAP], ["113.W"]).decode(registers)).all()


@pytest.mark.parametrize("value", [math.inf, -math.inf, 1e39])
def test_a_number_that_no_float32_holds_is_refused(value: float) -> None:
    registers = _registers()
    with pytest.raises(SunSpecValueError, match=r"113\.W.*device 1"):
        PointTable.of_image([MAP, MAP], ["113.W"]).encode(np.array([[1.0], [value]]), registers)
    assert np.array_equal(registers, _registers())
