"""The codec against itself, against pysunspec2, and against values that do not fit."""

from __future__ import annotations

import math
import struct
from itertools import count
from time import monotonic
from typing import Any

import numpy as np
import pytest
from emulated import described
from hypothesis import given
from hypothesis import strategies as st
from sunspec2.device import Model

from derloop.errors import Rejected
from hil.emulator.nameplate import Ratings
from hil.sunspec.codec import decode, encode
from hil.sunspec.discovery import discover
from hil.sunspec.errors import SunSpecMapError, SunSpecValueError
from hil.sunspec.image import build_image
from hil.sunspec.points import Point
from hil.sunspec.reads import ReadPlan, runs
from hil.sunspec.register_map import RegisterMap
from hil.sunspec.table import PointTable
from hil.sunspec.wording import value_text

DESCRIPTION = described(Ratings("inv", 10e3, 11e3, 4840.0, 4840.0, 240.0, energy_wh=20e3))
MAP, IMAGE = build_image(DESCRIPTION)
NUMERIC = ("integer", "enum", "bitfield")
NUMBERS = [p for p in MAP.points.values() if p.kind.family in NUMERIC and p.exponent is not None]
TEXTS = [p for p in MAP.points.values() if p.type == "string"]
OTHER_MODELS: dict[int, Any] = {
    706: {"NPt": 2, "NCrv": 2, "V_SF": -2, "DeptRef_SF": -2, "RspTms_SF": 0},
    **{m: {"NPt": 3, "NCrvSet": 2, "V_SF": -2, "Tms_SF": -2} for m in (707, 708)},
    **{m: {"NPt": 3, "NCrvSet": 2, "Hz_SF": -2, "Tms_SF": -2} for m in (709, 710)},
    711: {"NCtl": 2, "Db_SF": -3, "K_SF": -3, "RspTms_SF": 0},
    712: {"NPt": 6, "NCrv": 2, "W_SF": -1, "DeptRef_SF": -1},
    713: {"SoC": 60.0, "Pct_SF": -1},
    714: {"NPrt": 2, "DCV_SF": -1, "Prt": [{"DCV": 400.0, "IDStr": "S1"}, {}]},
}


def _point(type_: str, exponent: int | None = 0, length: int = 1, **symbols: int) -> Point:
    absent = {"uint16": 0xFFFF, "int16": 0x8000, "enum16": 0xFFFF}.get(type_, 0)
    return Point("9.X", 100, length, type_, exponent, "X_SF", True, "W", symbols, absent)


def _words(point: Point, raw: int) -> tuple[int, ...]:
    pattern = raw % (1 << 16 * point.length)
    return struct.unpack(f">{point.length}H", pattern.to_bytes(2 * point.length, "big"))


def _device(image: np.ndarray[Any, np.dtype[np.uint16]], base: int) -> Any:
    def read(address: int, count: int) -> Any:
        if address < base or address + count > base + len(image) or count > 125:
            raise Rejected("inv", "illegal address")
        return image[address - base : address - base + count]

    return read


@given(st.data())
def test_every_number_comes_back_from_its_registers(data: st.DataObject) -> None:
    point = data.draw(st.sampled_from(NUMBERS))
    codes = list(point.symbols.values())
    raw = data.draw(
        st.sampled_from(codes)
        if point.kind.family == "enum" and codes
        else st.integers(max(point.kind.low, -(2**51)), min(point.kind.high, 2**51))
    )
    assert point.exponent is not None
    value = raw * 10**point.exponent if point.exponent >= 0 else raw / 10**-point.exponent
    encoded = encode(point, value, exact=True)
    assert (decode(point, encoded.registers), encoded.value, encoded.rounded) == (value, value, False)


@given(st.sampled_from(TEXTS), st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1))
def test_every_text_comes_back_from_its_registers(point: Point, text: str) -> None:
    fitting = text[: 2 * point.length]
    assert decode(point, encode(point, fitting).registers) == fitting


@given(st.sampled_from(NUMBERS), st.floats(-1e12, 1e12))
def test_a_value_is_rounded_by_half_a_step_at_most_or_refused(point: Point, value: float) -> None:
    try:
        encoded = encode(point, value)
    except SunSpecValueError:
        return
    assert point.exponent is not None
    assert isinstance(encoded.value, int | float)
    assert abs(encoded.value - value) <= 0.5000001 * 10.0**point.exponent


def test_a_value_between_two_steps_goes_to_the_nearest_as_it_is_exactly_and_to_the_even_one_of_two() -> None:
    point = _point("int16", -2)
    halves = (0.125, 0.375, -0.125, 1.005)  # 1.005 is 1.00499999999999989..., and 100.49999999999999 or 100.5 times 100
    assert [encode(point, value).value for value in halves] == [0.12, 0.38, -0.12, 1.0]
    with pytest.raises(SunSpecValueError, match="out of range"):
        encode(point, 1e308)


@given(st.data())
def test_tables_encode_and_decode_as_single_points_do(data: st.DataObject) -> None:
    points = data.draw(st.lists(st.sampled_from(NUMBERS), min_size=1, max_size=8, unique_by=lambda p: p.name))
    raws = [data.draw(st.integers(max(p.kind.low, -(2**51)), min(p.kind.high, 2**51))) for p in points]
    values = [decode(p, _words(p, raw)) for p, raw in zip(points, raws, strict=True)]
    table = PointTable.of_image([MAP], [p.name for p in points])
    registers = IMAGE[None].copy()
    table.encode(np.array([values], dtype=np.float64), registers)
    assert table.decode(registers)[0].tolist() == pytest.approx(values, abs=0.0)
    assert [MAP.value(p.name, registers[0]) for p in points] == values


@pytest.mark.parametrize("point", [p for p in MAP.points.values() if p.kind.family != "opaque"], ids=lambda p: p.name)
def test_not_implemented_is_never_a_number(point: Point) -> None:
    encoded = encode(point, None)
    assert decode(point, encoded.registers) is None
    if point in NUMBERS:
        registers = IMAGE[None].copy()
        registers[0, point.address - MAP.base : point.end - MAP.base] = encoded.registers
        assert math.isnan(PointTable.of_image([MAP], [point.name]).decode(registers)[0, 0])


def test_the_image_is_what_pysunspec2_reads() -> None:
    for block in MAP.blocks:
        start = block.address - MAP.base
        data = IMAGE[start : start + block.length].astype(">u2").tobytes()
        model = Model(block.model_id, model_len=block.length - 2, data=data)
        assert not model.error_info
        for point in MAP.points.values():
            if point.name.startswith(f"{block.key}.") and point.type != "pad":
                _agree(model, point)


def _agree(model: Any, point: Point) -> None:
    item = model
    for part in point.name.split(".")[1:]:
        item = item[int(part)] if part.isdigit() else getattr(item, part)
    block = MAP.block(model.model_id)
    assert (point.address - block.address, point.length) == (item.offset, item.len), point.name
    theirs = item.cvalue or None if point.type == "string" else item.cvalue
    assert MAP.value(point.name, IMAGE) == (pytest.approx(theirs) if isinstance(theirs, float) else theirs), point.name


@pytest.mark.parametrize("model_id", OTHER_MODELS)
def test_other_der_models_lie_as_pysunspec2_lays_them_out(model_id: int) -> None:
    device, image = build_image({model_id: OTHER_MODELS[model_id]})
    block = device.block(model_id)
    data = image[2 : 2 + block.length].astype(">u2").tobytes()
    model = Model(model_id, model_len=block.length - 2, data=data)
    assert not model.error_info
    assert model.points["L"].value == block.length - 2


@pytest.mark.parametrize("base", [40000, 50000, 0])
def test_a_map_is_found_at_every_base_address(base: int) -> None:
    built, image = build_image(DESCRIPTION, base)
    found, registers = discover(_device(image, base))
    assert dict(found.points) == dict(built.points)
    assert found.blocks == built.blocks
    assert registers.tolist() == image.tolist()


def test_an_end_marker_without_length_is_enough() -> None:
    _, image = build_image({1: {"Mn": "x"}})
    found, _ = discover(_device(image[:-1], 40000))
    assert [block.model_id for block in found.blocks] == [1]


def test_unknown_models_are_passed_over_and_repeated_ones_keep_apart() -> None:
    _, image = build_image({713: {"SoC": 60.0, "Pct_SF": -1}})
    storage, vendor = image[2:11], np.array([64999, 3, 1, 2, 3], dtype=np.uint16)
    found, registers = discover(_device(np.concatenate([image[:2], storage, vendor, storage, image[-2:]]), 40000))
    assert [block.key for block in found.blocks] == ["713", "64999", "713#2"]
    assert found.value("713#2.SoC", registers) == 60.0


def test_no_map_is_an_error_that_says_where_it_was_sought() -> None:
    with pytest.raises(SunSpecMapError, match="40000, 50000, 0"):
        discover(_device(np.zeros(100, dtype=np.uint16), 40000))


@pytest.mark.parametrize(
    ("answered", "told"),
    [
        (0, "no 'SunS' at 40000, 50000, 0; refused with exception 4 (device failure), illegal address"),
        (1, "the registers of model 1, and those after it, cannot be read: exception 4 (device failure)"),
    ],
)
def test_what_a_device_refuses_its_map_with_is_told(answered: int, told: str) -> None:
    """One that is broken, or busy, is not one without a map."""
    _, image = build_image({1: {"Mn": "x"}, 713: {"SoC": 60.0, "Pct_SF": -1}})
    whole, asked = _device(image, 40000), count()

    def read(address: int, registers: int) -> Any:
        if next(asked) == answered:
            raise Rejected("inv", f"127.0.0.1:502 unit 1: read {address}+{registers}: exception 4 (device failure)")
        return whole(address, registers)

    with pytest.raises(SunSpecMapError) as refused:
        discover(read)
    assert told in str(refused.value)


def test_a_model_that_leaves_the_address_space_is_refused() -> None:
    image = np.array([0x5375, 0x6E53, 1, 60000], dtype=np.uint16)
    with pytest.raises(SunSpecMapError, match="60000"):
        discover(_device(image, 40000))


def test_a_model_shorter_than_its_definition_has_the_points_that_fit() -> None:
    _, image = build_image({1: {"Mn": "x", "DA": 1}})
    short = np.concatenate([image[:3], [65], image[4:69], image[-2:]]).astype(np.uint16)
    found, _ = discover(_device(short, 40000))
    assert "1.SN" in found
    assert "1.Pad" not in found


def test_a_model_that_counts_more_groups_than_it_has_registers_is_found_in_no_time() -> None:
    """Four points and three curves, with the bytes of each count in the wrong order."""
    built, image = build_image(DESCRIPTION)
    for name in ("705.NPt", "705.NCrv"):
        at = built.position(built[name])
        image[at] = int(image[at]) << 8
    began_s = monotonic()
    found, _ = discover(_device(image, 40000))
    assert monotonic() - began_s < 2.0
    assert "705.Crv.0.Pt.0.V" in found
    assert found.blocks == built.blocks


def test_points_whose_scale_factor_is_missing_have_no_value() -> None:
    device, image = build_image({713: {"SoC": None, "Pct_SF": None}})
    image[device["713.SoC"].address - device.base] = 60
    assert device.value("713.SoC", image) is None
    assert math.isnan(PointTable.of_image([device], ["713.SoC"]).decode(image[None])[0, 0])
    with pytest.raises(SunSpecValueError, match="Pct_SF"):
        encode(device["713.SoC"], 60.0)


def test_the_highest_bit_of_a_bit_field_says_that_the_others_mean_nothing() -> None:
    assert decode(MAP["701.Alrm"], (0x8000, 0x0001)) is None
    assert MAP["701.Alrm"].flags(decode(MAP["701.Alrm"], (0, 0b11))) == ("GROUND_FAULT", "DC_OVER_VOLT")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 32768, -32768, 1e300])
def test_numbers_that_do_not_fit_are_refused(value: float) -> None:
    with pytest.raises(SunSpecValueError, match=r"9\.X"):
        encode(_point("int16"), value)


def test_a_symbol_of_a_bit_field_is_its_bit() -> None:
    assert encode(_point("bitfield16", FIRST=0, FOURTH=3), "FOURTH").registers == (0b1000,)
    assert encode(_point("bitfield16", FIRST=0, FOURTH=3), "FIRST").registers == (0b0001,)


@pytest.mark.parametrize("value", [2, 0.5, "ONN", 65535])
def test_enumerations_take_only_their_symbols(value: float | str) -> None:
    with pytest.raises(SunSpecValueError):
        encode(_point("enum16", OFF=0, ON=1), value)


def test_a_rounding_is_reported_and_refused_where_exactness_is_asked() -> None:
    coarse = _point("uint16")
    assert encode(coarse, 66.5) == ((66,), 66, True)
    assert encode(_point("uint16", -1), 66.5) == ((665,), 66.5, False)
    with pytest.raises(SunSpecValueError, match="66"):
        encode(coarse, 66.5, exact=True)


@pytest.mark.parametrize("text", ["x" * 33, "a\0b"])
def test_texts_that_do_not_fit_are_refused(text: str) -> None:
    with pytest.raises(SunSpecValueError):
        encode(MAP["1.Mn"], text)


def test_a_table_writes_nothing_if_one_value_does_not_fit() -> None:
    table, registers = PointTable.of_image([MAP], ["701.W", "701.LNV"]), IMAGE[None].copy()
    with pytest.raises(SunSpecValueError, match=r"701\.LNV.*device 0"):
        table.encode(np.array([[5.0, -1.0]]), registers)
    assert registers[0].tolist() == IMAGE.tolist()


def test_a_description_with_an_unknown_point_is_refused_with_a_hint() -> None:
    with pytest.raises(SunSpecMapError, match="did you mean 'WMaxLimPct'"):
        build_image({704: {"WMaxLimPc": 1}})


def test_a_plan_reads_as_seldom_as_125_registers_allow() -> None:
    plan = ReadPlan(MAP, ["701.W", "701.Hz", "713.SoC", "701.InvSt"])
    assert [request.registers for request in plan.requests] == [15, 1]
    everything = ReadPlan(MAP, [p.name for p in NUMBERS])
    assert max(request.registers for request in everything.requests) <= 125
    assert len(everything.requests) <= math.ceil((MAP.end - MAP.base) / 125) + 1


def test_a_plan_decodes_what_the_device_lacks_to_nan() -> None:
    small, image = build_image({701: {"W": 5, "W_SF": 0}})
    plan = ReadPlan(small, ["701.W", "713.SoC"])
    registers = np.concatenate([_device(image, 40000)(*request[:2]) for request in plan.requests])
    values = PointTable.of_plans([plan]).decode(registers[None])
    assert values[0, 0] == 5.0
    assert math.isnan(values[0, 1])


def test_neighbouring_points_are_written_together() -> None:
    names = ["704.WMaxLimPct", "704.WMaxLimPctEna", "704.VarSet"]
    grouped = [[p.name for p in run] for run in runs(MAP[name] for name in names)]
    assert grouped == [["704.WMaxLimPctEna", "704.WMaxLimPct"], ["704.VarSet"]]


def test_a_missing_point_is_named_with_a_hint() -> None:
    with pytest.raises(SunSpecMapError, match=r"did you mean '704\.WMaxLimPct'"):
        MAP["704.WMaxLimPtc"]
    with pytest.raises(SunSpecMapError, match="1, 701, 702"):
        RegisterMap(MAP.base, MAP.blocks, MAP.points.values()).block(802)


def test_a_table_too_knows_that_the_highest_bit_of_a_bit_field_hides_the_others() -> None:
    registers, alarms = IMAGE[None].copy(), MAP["701.Alrm"]
    registers[0, alarms.address - MAP.base : alarms.end - MAP.base] = (0x8000, 0x0001)
    assert math.isnan(PointTable.of_image([MAP], ["701.Alrm"]).decode(registers)[0, 0])


def test_groups_that_fill_a_model_have_scale_factors_of_their_own() -> None:
    description = {63001: {"repeating": [{"int16_11": 1.5, "sunssf_8": -1}, {"int16_11": 2.0, "sunssf_8": 0}]}}
    built, image = build_image(description)
    found, registers = discover(_device(image, 40000))
    assert dict(found.points) == dict(built.points)
    assert [found.value(f"63001.repeating.{i}.int16_11", registers) for i in (0, 1)] == [1.5, 2]
    assert [found[f"63001.repeating.{i}.int16_11"].exponent for i in (0, 1)] == [-1, 0]


def test_a_text_that_would_steer_a_terminal_is_shown_as_it_stands() -> None:
    point = MAP["1.Mn"]
    held = decode(point, encode(point, "\x1b[2JMaker").registers)
    assert value_text(point, held) == "\\x1b[2JMaker"
