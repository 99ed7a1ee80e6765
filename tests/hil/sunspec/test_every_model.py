"""Every model that pysunspec2 ships: built by one codec, read by the other, point by point."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
from sunspec2.device import Model, set_model_defs_path

from hil.sunspec.codec import decode, encode
from hil.sunspec.discovery import discover
from hil.sunspec.errors import SunSpecMapError, SunSpecValueError
from hil.sunspec.image import build_image
from hil.sunspec.layout import count_points, definition
from hil.sunspec.points import KINDS, Point, RegisterArray
from hil.sunspec.register_map import RegisterMap

FOLDER = files("sunspec2") / "models"
MODELS = sorted(int(each.name[6:-5]) for each in (FOLDER / "json").iterdir() if each.name.startswith("model_"))
OPAQUE = {"eui48": 6, "ipv6addr": 16}


@pytest.fixture(autouse=True, scope="module")
def definitions_of_the_package() -> None:
    set_model_defs_path([str(FOLDER)])


def described(group: Mapping[str, Any], chance: random.Random, scales: Mapping[str, int], repeats: int) -> Any:
    """Return a group's description with a value for three points of four; groups that repeat do so `repeats` times."""
    own = dict(scales) | {p["name"]: chance.randint(-4, 4) for p in group["points"] if p["type"] == "sunssf"}
    counters = count_points(group)
    found: dict[str, Any] = {
        p["name"]: own[p["name"]] if p["type"] == "sunssf" else _value(p, chance, own)
        for p in group["points"]
        if p["name"] not in ("ID", "L") and (p["type"] == "sunssf" or chance.random() < 0.75)
    }
    found = {name: value for name, value in found.items() if value is not None and name not in counters}
    for inner in group.get("groups", ()):
        listed = [described(inner, chance, own, repeats) for _ in range(repeats)]
        found[inner["name"]] = listed[0] if inner.get("count") is None else listed
    return found


def _value(point: Mapping[str, Any], chance: random.Random, scales: Mapping[str, int]) -> Any:
    kind, symbols = KINDS[point["type"]], point.get("symbols", ())
    if kind.family == "string":
        return "".join(chance.choices("aZ9-_.", k=chance.randint(1, 2 * int(point["size"]))))
    if kind.family == "pad":
        return None
    if kind.family == "opaque":
        return chance.randbytes(OPAQUE[point["type"]]).hex()
    if kind.family == "float":
        return struct.unpack(">f", struct.pack(">f", chance.uniform(-1e6, 1e6)))[0]
    if kind.family == "enum" and symbols:
        return chance.choice(symbols)["value"]
    raw = chance.randint(max(kind.low, -(2**50)), min(kind.high, 2**50))
    scale = point.get("sf")
    exponent = scale if isinstance(scale, int) else scales.get(scale, 0)  # type: ignore[arg-type]
    return raw * 10**exponent if exponent >= 0 else raw / 10**-exponent


def leaves(tree: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield every value of a description by the path of its point."""
    if isinstance(tree, Mapping):
        for name, inner in tree.items():
            yield from leaves(inner, f"{path}.{name}")
    elif isinstance(tree, list):
        for index, inner in enumerate(tree):
            yield from leaves(inner, f"{path}.{index}")
    else:
        yield path, tree


def theirs_of(model: Any, point: Point) -> Any:
    """Return pysunspec2's point; nested and repeated groups alike."""
    item = model
    for part in point.name.split(".")[1:]:
        item = item[int(part)] if part.isdigit() else getattr(item, part)
    return item


def assert_equal(model: Any, device: RegisterMap, image: RegisterArray) -> None:
    """Every point has the same place, length and value to both."""
    block = device.block(model.model_id)
    for point in device.points.values():
        theirs, ours = theirs_of(model, point), device.value(point.name, image)
        assert (point.address - block.address, point.length) == (theirs.offset, theirs.len), point.name
        if point.type != "pad":
            expected = theirs.cvalue or None if point.type in ("string", "ipaddr", "ipv6addr") else theirs.cvalue
            assert ours == (pytest.approx(expected, rel=1e-12) if isinstance(expected, float) else expected), point.name


@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize("model_id", MODELS)
def test_what_is_built_here_reads_the_same_there(model_id: int, repeats: int) -> None:
    tree = described(definition(model_id), random.Random(model_id), {}, repeats)
    device, image = build_image({model_id: tree})
    block = device.block(model_id)
    data = image[2 : 2 + block.length].astype(">u2").tobytes()
    model = Model(model_id, model_len=block.length - 2, data=data)
    assert not model.error_info
    assert_equal(model, device, image)
    for name, value in leaves(tree, str(model_id)):
        found = device.value(name, image)
        if device[name].kind.family == "opaque":
            assert str(found).replace(":", "").lower() == value, name
        else:
            absent = encode(device[name], None).registers == encode(device[name], value).registers
            assert found == (None if absent else value), name


@pytest.mark.parametrize("model_id", MODELS)
def test_what_is_built_there_reads_the_same_here(model_id: int) -> None:
    tree = described(definition(model_id), random.Random(-model_id), {}, 2)
    device, image = build_image({model_id: tree})
    block = device.block(model_id)
    data = image[2 : 2 + block.length].astype(">u2").tobytes()
    model = Model(model_id, model_len=block.length - 2, data=data)
    words = np.frombuffer(model.get_mb(), dtype=">u2").astype(np.uint16)
    whole = np.concatenate([image[:2], words, image[-2:]]).astype(np.uint16)
    found, registers = discover(lambda address, count: _read(whole, address, count))
    assert dict(found.points) == dict(device.points)
    assert_equal(model, found, registers)


def _read(image: RegisterArray, address: int, count: int) -> RegisterArray:
    return image[address - 40000 : address - 40000 + count]


def test_pysunspec2_ships_112_models() -> None:
    assert len(MODELS) == 112


@pytest.mark.parametrize("text", ["00:1B", "zz:1B:19:00:00:01", "00:1B:19:00:00:01:02"])
def test_a_hardware_address_is_six_bytes(text: str) -> None:
    device, _ = build_image({11: {}})
    with pytest.raises(SunSpecValueError, match=r"11\.MAC"):
        encode(device["11.MAC"], text)


def test_a_hardware_address_comes_back_and_can_be_absent() -> None:
    device, _ = build_image({11: {}})
    encoded = encode(device["11.MAC"], "00:1b:19:00:00:01")
    assert encoded.registers == (0, 0x1B, 0x1900, 1)
    assert encoded.value == "00:1B:19:00:00:01"
    assert decode(device["11.MAC"], encode(device["11.MAC"], None).registers) is None


def test_a_model_that_nobody_defines_is_refused() -> None:
    with pytest.raises(SunSpecMapError, match="9999"):
        build_image({9999: {}})
