"""SF: what a register holds is its value in steps of its scale factor, whatever that is."""

from __future__ import annotations

import pytest
from conforming import BATTERY, INVERTER, served
from pydantic import ValidationError
from sunspec2.modbus.modbus import ModbusClientException

from hil.sunspec.errors import SunSpecMapError


@pytest.mark.parametrize(
    ("scale", "raw", "written", "held"),
    [(0, 66, 66.0, 66.0), (-1, 665, 66.5, 66.5), (-2, 6650, 66.5, 66.5), (1, 7, 70.0, 70.0)],
)
def test_a_value_is_its_register_in_steps_of_the_scale_factor(
    scale: int, raw: int, written: float, held: float
) -> None:
    with served(BATTERY, models="all", scale_factors={"704.WMaxLimPct_SF": scale}) as device:
        assert device.read("704.WMaxLimPct_SF") == scale
        device.put("704.WMaxLimPct", written)
        point = device.bank.maps[0]["704.WMaxLimPct"]
        assert device.bank.read(0, point.address, 1) == [raw]
        device.put("704.WMaxLimPctEna", 1)
        assert device.bank.settings().limit_fraction.tolist() == pytest.approx([held / 100])
        assert device.read("123.WMaxLimPct") == pytest.approx(held)


@pytest.mark.parametrize(("scale", "last", "first_beyond"), [(0, 100, 101), (-2, 10000, 10001), (1, 10, 11)])
def test_the_range_is_that_of_values_and_not_of_registers(scale: int, last: int, first_beyond: int) -> None:
    with served(INVERTER, scale_factors={"704.WMaxLimPct_SF": scale}) as device:
        address = device.bank.maps[0]["704.WMaxLimPct"].address
        device.client.write(address, last.to_bytes(2, "big"))
        with pytest.raises(ModbusClientException, match="exception: 3"):
            device.client.write(address, first_beyond.to_bytes(2, "big"))


def test_two_devices_of_one_kind_may_differ_in_their_scale_factors() -> None:
    with served(INVERTER, scale_factors={"702.W_SF": 2}) as coarse, served(INVERTER) as fine:
        assert (coarse.read("702.WMax"), fine.read("702.WMax")) == (10000, 10000)
        words = [d.bank.read(0, d.bank.maps[0]["702.WMax"].address, 1) for d in (coarse, fine)]
        assert words == [[100], [10000]]


@pytest.mark.parametrize("name", ["702.WMax", "hello"])
def test_what_is_no_scale_factor_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="must be a scale factor"), served(INVERTER, scale_factors={name: 0}):
        pass


@pytest.mark.parametrize("name", ["705.Nothing_SF", "999.W_SF"])
def test_a_scale_factor_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(SunSpecMapError), served(INVERTER, scale_factors={name: 0}):
        pass
