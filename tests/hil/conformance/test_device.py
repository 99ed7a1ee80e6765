"""DEV: what a device says of itself, and the chain of its models; by pysunspec2's own client."""

from __future__ import annotations

import pytest
from conforming import BATTERY, INVERTER, Served, served
from sunspec2.modbus.client import SunSpecModbusClientDeviceTCP

from hil.emulator.nameplate import Ratings

CHAINS = [
    (INVERTER, "der", [1, *range(701, 713), 715]),
    (BATTERY, "der", [1, *range(701, 714), 715]),
    (INVERTER, "legacy", [1, 103, 120, 121, 122, 123, 126, 160]),
    (BATTERY, "legacy", [1, 103, 120, 121, 122, 123, 124, 126, 802]),
    (INVERTER, "legacy-float", [1, 113, 120, 121, 122, 123, 126, 160]),
    (INVERTER, "all", [1, 103, 113, *range(120, 124), 126, 160, 203, *range(701, 713), 714, 715]),
    (BATTERY, "all", [1, 103, 113, *range(120, 125), 126, 203, *range(701, 716), 802]),
]
ONE_PHASE = Ratings("pv_1", 5e3, 5e3, 2200.0, 2200.0, 240.0, 1)
TWO_PHASES = Ratings("pv_2", 5e3, 5e3, 2200.0, 2200.0, 120.0, 2)


@pytest.mark.parametrize(("ratings", "models", "chain"), CHAINS)
def test_a_scan_finds_the_models_of_the_profile_and_their_lengths(
    ratings: Ratings, models: str, chain: list[int]
) -> None:
    with served(ratings, models=models) as device:
        client: SunSpecModbusClientDeviceTCP = device.client
        assert [model.model_id for model in client.model_list] == chain
        assert not any(model.error_info for model in client.model_list)
        assert [model.points["L"].value for model in client.model_list] == [m.model_len for m in client.model_list]
        common = client.common[0]
        assert (common.Mn.value, common.SN.value, common.DA.value) == ("derloop", ratings.name, 1)


@pytest.mark.parametrize(("ratings", "models"), [(ONE_PHASE, {101, 111, 201}), (TWO_PHASES, {102, 112, 202})])
def test_models_of_inverters_and_meters_are_those_of_the_phases(ratings: Ratings, models: set[int]) -> None:
    with served(ratings, models="all") as device:
        found = {model.model_id for model in device.client.model_list}
        assert models <= found
        assert not (set(range(101, 114)) | set(range(201, 205))) & found - models


def test_the_chain_ends_with_the_end_model(battery: Served) -> None:
    end = battery.bank.maps[0].end
    last = battery.client.model_list[-1]
    assert last.model_addr + last.model_len + 2 == end - 2
    assert battery.bank.read(0, end - 2, 2) == [0xFFFF, 0]


def test_every_model_begins_with_its_id_and_length(battery: Served) -> None:
    for model in battery.client.model_list:
        data = battery.client.read(model.model_addr, 2)
        assert int.from_bytes(data[:2], "big") == model.model_id
        assert int.from_bytes(data[2:], "big") == model.model_len


def test_every_point_reads_the_same_to_both_codecs(battery: Served) -> None:
    """What the bank holds is what pysunspec2 makes of the wire, model by model."""
    for model in battery.client.model_list:
        model.read()
    image, device = battery.bank.image(0), battery.bank.maps[0]
    for name, point in device.points.items():
        if point.type == "pad":
            continue
        theirs, ours = battery.item(name), device.value(name, image)
        expected = (theirs.cvalue or None) if point.type == "string" else theirs.cvalue
        assert ours == (pytest.approx(expected) if isinstance(expected, float) else expected), name
