"""CRV: curves are written to a spare place, handed over, and adopted as curve 1 or refused; all of 705 to 712."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from conforming import Served
from sunspec2.modbus.modbus import ModbusClientException

IN_PROGRESS, COMPLETED, FAILED = 0, 1, 2


class Curve(NamedTuple):
    """Points of curve 2 of a model that a device can follow, and one that it cannot."""

    good: dict[str, float]
    bad: dict[str, float]
    group: str = "Crv"


def _pairs(path: str, x: str, y: str, *pairs: tuple[float, float]) -> dict[str, float]:
    named = ((f"{path}Pt.{i}", pair) for i, pair in enumerate(pairs))
    return {f"{at}.{axis}": value for at, pair in named for axis, value in zip((x, y), pair, strict=True)}


CURVES = {
    705: Curve(_pairs("", "V", "Var", (90, 30), (97, 0), (103, 0), (110, -30)), {"Pt.0.V": 99.0}),
    706: Curve(_pairs("", "V", "W", (105, 100), (109, 20)) | {"RspTms": 5.0}, {"Pt.0.V": 110.0, "Pt.1.V": 106.0}),
    707: Curve(_pairs("MustTrip.", "V", "Tms", (70, 5), (40, 1)), {"MustTrip.Pt.0.Tms": 1.0}),
    708: Curve(_pairs("MustTrip.", "V", "Tms", (115, 2), (120, 0.16)), {"MustTrip.Pt.1.V": 115.0}),
    709: Curve(_pairs("MustTrip.", "Hz", "Tms", (57, 200), (56, 1)), {"MustTrip.Pt.0.Tms": 100.0}),
    710: Curve(_pairs("MustTrip.", "Hz", "Tms", (62, 200), (63, 1)), {"MustTrip.Pt.0.Tms": 100.0}),
    711: Curve({"DbOf": 0.1, "DbUf": 0.2, "KOf": 0.04, "KUf": 0.03, "RspTms": 2.0}, {"KOf": 0.02}, "Ctl"),
    712: Curve(
        _pairs("", "W", "Var", (-90, 40), (-60, 10), (-20, 0), (20, 0), (60, -10), (90, -40)),
        {"Pt.4.W": 90.0, "Pt.5.W": 50.0},
    ),
}
PARAMETERS = pytest.mark.parametrize("model", CURVES)


def _write_second(device: Served, model: int, values: dict[str, float]) -> None:
    for path, value in values.items():
        device.item(f"{model}.{CURVES[model].group}.1.{path}").cvalue = value
    device.item(str(model)).write()


def _first(device: Served, model: int) -> dict[str, float]:
    device.item(str(model)).read()
    paths = CURVES[model].good | CURVES[model].bad
    return {path: device.item(f"{model}.{CURVES[model].group}.0.{path}").cvalue for path in paths}


def _ask(device: Served, model: int, place: int = 2) -> None:
    device.put(f"{model}.Adpt{CURVES[model].group}Req", place)


def _result(device: Served, model: int) -> int:
    return int(device.read(f"{model}.Adpt{CURVES[model].group}Rslt"))


@PARAMETERS
def test_a_curve_is_in_progress_then_adopted_as_the_first(battery: Served, model: int) -> None:
    before = _first(battery, model)
    _write_second(battery, model, CURVES[model].good)
    assert _first(battery, model) == before
    _ask(battery, model)
    assert [_result(battery, model) for _ in range(3)] == [IN_PROGRESS, COMPLETED, COMPLETED]
    found = _first(battery, model)
    assert {path: found[path] for path in CURVES[model].good} == pytest.approx(CURVES[model].good)


@PARAMETERS
def test_a_curve_that_cannot_be_followed_fails_and_the_first_stays(battery: Served, model: int) -> None:
    before = _first(battery, model)
    _write_second(battery, model, CURVES[model].bad)
    _ask(battery, model)
    assert [_result(battery, model) for _ in range(2)] == [IN_PROGRESS, FAILED]
    assert _first(battery, model) == before


@PARAMETERS
def test_after_a_failure_a_good_curve_is_adopted(battery: Served, model: int) -> None:
    _write_second(battery, model, CURVES[model].bad)
    _ask(battery, model)
    battery.bank.advance(1.0)
    assert _result(battery, model) == FAILED
    _write_second(battery, model, CURVES[model].good)
    _ask(battery, model)
    battery.bank.advance(1.0)
    assert _result(battery, model) == COMPLETED


@PARAMETERS
def test_the_first_curve_is_read_only_before_and_after_an_adoption(battery: Served, model: int) -> None:
    group, path = CURVES[model].group, next(iter(CURVES[model].good))
    name = f"{model}.{group}.0.{path}"
    for _ in range(2):
        assert battery.item(f"{model}.{group}.0.ReadOnly").value == 1
        assert battery.item(f"{model}.{group}.1.ReadOnly").value == 0
        point = battery.bank.maps[0].points[name]
        with pytest.raises(ModbusClientException, match="exception: 2"):
            battery.client.write(point.address, bytes(2 * point.length))
        _ask(battery, model)
        battery.bank.advance(1.0)
        battery.item(str(model)).read()


@PARAMETERS
@pytest.mark.parametrize("place", [0, 4])
def test_a_place_that_is_not_there_cannot_be_adopted(battery: Served, model: int, place: int) -> None:
    with pytest.raises(ModbusClientException, match="exception: 3"):
        _ask(battery, model, place)
    battery.item(f"{model}.Adpt{CURVES[model].group}Req").dirty = False
    assert _result(battery, model) == COMPLETED


@PARAMETERS
def test_while_one_is_being_adopted_the_device_is_busy_with_that_model_alone(battery: Served, model: int) -> None:
    _ask(battery, model)
    with pytest.raises(ModbusClientException, match="exception: 6"):
        _ask(battery, model, 3)
    battery.item(f"{model}.Adpt{CURVES[model].group}Req").dirty = False
    other = 705 if model != 705 else 706
    _ask(battery, other)
    battery.bank.advance(1.0)
    assert (_result(battery, model), _result(battery, other)) == (COMPLETED, COMPLETED)


def test_a_percentage_of_what_is_available_cannot_be_followed(battery: Served) -> None:
    for model, code in ((705, 2), (706, 1), (712, 2)):
        _write_second(battery, model, {"DeptRef": code})
        _ask(battery, model)
        battery.bank.advance(1.0)
        assert _result(battery, model) == FAILED


def test_the_reference_voltage_moves_a_curve(battery: Served) -> None:
    _write_second(battery, 705, CURVES[705].good | {"VRef": 102.0})
    _ask(battery, 705)
    battery.bank.advance(1.0)
    assert battery.bank.settings().volt_var_v_pu[0, :4] == pytest.approx([0.92, 0.99, 1.05, 1.12])
