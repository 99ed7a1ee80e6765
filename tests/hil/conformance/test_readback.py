"""MOD: every point that may be written is written with values that it allows, and reads back as written."""

from __future__ import annotations

import re

import pytest
from conforming import VALUES, Served
from sunspec2.modbus.modbus import ModbusClientException

MODELS = (1, 121, 123, 124, 126, *range(702, 713), 715, 802)
FIRST = {"123.VArPct_Ena": ("123.VArPct_Mod", 1), "123.VArPct_Mod": ("123.VArPct_Ena", 0)}
"""What has to be written before."""


def _plain(name: str) -> str:
    return re.sub(r"\.\d+(?=\.)", "", name)


def _writable(device: Served, model: int) -> list[str]:
    """Return the points of a model that may be written: of curves those of the second."""
    points = device.bank.maps[0].points
    ours = (n for n in device.names() if n.startswith(f"{model}.") and points[n].writable)
    return [name for name in ours if not re.match(r"\d+\.(Crv|Ctl|curve)\.[02]\.", name)]


@pytest.mark.parametrize("model", MODELS)
def test_what_is_written_reads_back(battery: Served, model: int) -> None:
    names = _writable(battery, model)
    assert names
    wrong = {}
    for name in names:
        battery.bank.restart(0)
        if name in FIRST:
            battery.put(*FIRST[name])
        for value in VALUES[_plain(name)]:
            battery.put(name, value)
            if (found := battery.read(name)) != pytest.approx(value):
                wrong[name] = (value, found)
    assert wrong == {}


def test_every_value_of_the_list_is_of_a_point_that_may_be_written(battery: Served) -> None:
    found = {_plain(name) for model in MODELS for name in _writable(battery, model)}
    assert set(VALUES) == found


@pytest.mark.parametrize("model", [1, 103, 120, 122, 203, *range(701, 716), 802])
def test_what_is_read_only_is_refused_and_stays(battery: Served, model: int) -> None:
    points, before = battery.bank.maps[0].points, battery.bank.image(0).tolist()
    names = [n for n in battery.names() if n.startswith(f"{model}.") and not points[n].writable]
    assert names
    for name in names:
        with pytest.raises(ModbusClientException, match="exception: 2"):
            battery.client.write(points[name].address, bytes(2 * points[name].length))
    assert battery.bank.image(0).tolist() == before


def test_a_point_that_is_not_implemented_may_not_be_written(battery: Served) -> None:
    assert battery.read("704.WRmp") is None
    with pytest.raises(ModbusClientException, match="exception: 2"):
        battery.put("704.WRmp", 5)
    battery.item("704.WRmp").dirty = False
