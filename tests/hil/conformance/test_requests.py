"""TCP: parts of models, whole models, several models and several packets; and what is refused, with which exception."""

from __future__ import annotations

import struct

import pytest
from conforming import Served, exchange


def _read(device: Served, address: int, count: int, function: int = 3) -> bytes:
    return exchange(device.address, struct.pack(">BHH", function, address, count))


def _write(device: Served, address: int, *words: int) -> bytes:
    return exchange(device.address, struct.pack(f">BHHB{len(words)}H", 16, address, len(words), 2 * len(words), *words))


def _held(device: Served, address: int, count: int) -> bytes:
    found = device.bank.read(0, address, count)
    assert isinstance(found, list)
    return struct.pack(f">BB{count}H", 3, 2 * count, *found)


def test_one_register_and_all_that_a_request_can_carry_are_read(battery: Served) -> None:
    for address, count in ((40000, 1), (40000, 125), (40070, 2), (battery.bank.maps[0].end - 125, 125)):
        assert _read(battery, address, count) == _held(battery, address, count)


def test_a_model_is_read_whole_in_part_and_across_its_end(battery: Served) -> None:
    block = battery.bank.maps[0].block(704)
    for start, count in ((block.address, block.length), (block.address + 5, 3), (block.address + block.length - 2, 9)):
        assert _read(battery, start, count) == _held(battery, start, count)


def test_half_of_a_point_may_be_read(battery: Served) -> None:
    hertz = battery.bank.maps[0]["701.Hz"].address
    assert _read(battery, hertz + 1, 1) == _held(battery, hertz + 1, 1)


def test_models_of_more_than_125_registers_are_read_in_several_packets(battery: Served) -> None:
    long = [model for model in battery.client.model_list if model.model_len > 125]
    assert {model.model_id for model in long} == {126, 701}
    for model in long:
        model.read()
        data = model.get_mb()
        held = battery.bank.image(0)[model.model_addr - 40000 :][: model.model_len + 2]
        assert data == held.astype(">u2").tobytes()


@pytest.mark.parametrize(("address", "count"), [(39999, 1), (0, 1), (65535, 1), (39999, 2)])
def test_registers_outside_of_the_map_are_refused(battery: Served, address: int, count: int) -> None:
    assert _read(battery, address, count) == b"\x83\x02"


def test_a_read_beyond_the_end_marker_is_refused_whole(battery: Served) -> None:
    end = battery.bank.maps[0].end
    assert _read(battery, end - 2, 2) == _held(battery, end - 2, 2)
    assert _read(battery, end - 2, 3) == b"\x83\x02"


def test_what_a_device_holds_and_does_not_show_is_out_of_reach(old_inverter: Served) -> None:
    held, shown = old_inverter.bank.held[0], old_inverter.bank.maps[0]
    hidden = held["704.WMaxLimPct"].address
    assert hidden > shown.end
    assert _read(old_inverter, hidden, 1) == b"\x83\x02"
    assert _write(old_inverter, hidden, 50) == b"\x90\x02"


@pytest.mark.parametrize("count", [0, 126, 65535])
def test_a_number_of_registers_that_no_request_may_have_is_refused(battery: Served, count: int) -> None:
    assert _read(battery, 40000, count) == b"\x83\x03"


@pytest.mark.parametrize("function", [1, 2, 4, 5, 7, 15, 22, 23, 43, 0, 127])
def test_functions_that_a_device_does_not_know_are_refused(battery: Served, function: int) -> None:
    before = battery.bank.image(0).tolist()
    assert _read(battery, 40000, 1, function) == bytes([function | 0x80, 1])
    assert battery.bank.image(0).tolist() == before


def test_one_point_is_written_with_function_6(battery: Served) -> None:
    limit = battery.bank.maps[0]["704.WMaxLimPct"].address
    body = struct.pack(">BHH", 6, limit, 5000)
    assert exchange(battery.address, body) == body
    assert battery.bank.number(0, "704.WMaxLimPct") == 50.0


def test_half_of_a_point_may_not_be_written(battery: Served) -> None:
    time = battery.bank.maps[0]["704.WMaxLimPctRvrtTms"].address
    assert _write(battery, time, 1) == b"\x90\x02"
    assert _write(battery, time + 1, 30) == b"\x90\x02"
    assert exchange(battery.address, struct.pack(">BHH", 6, time + 1, 30)) == b"\x86\x02"
    assert _write(battery, time, 0, 30)[:1] == b"\x10"
    assert battery.bank.number(0, "704.WMaxLimPctRvrtTms") == 30


def test_neighbouring_points_are_written_together_or_not_at_all(battery: Served) -> None:
    enable = battery.bank.maps[0]["704.WMaxLimPctEna"].address
    assert _write(battery, enable, 1, 6650) == struct.pack(">BHH", 16, enable, 2)
    before = battery.bank.image(0).tolist()
    assert _write(battery, enable, 0, 10001) == b"\x90\x03"
    assert battery.bank.image(0).tolist() == before


@pytest.mark.parametrize(
    ("point", "words"),
    [
        ("704.WMaxLimPct", (10001,)),
        ("704.WMaxLimPct", (0xFFFF,)),
        ("704.WSet", (0x7FFF, 0xFFFF)),
        ("704.WMaxLimPctEna", (2,)),
        ("704.WMaxLimPctEna", (0xFFFF,)),
        ("704.VarSetMod", (2,)),
        ("704.PFWInj.PF", (10001,)),
        ("702.WMax", (0,)),
        ("702.VNom", (1,)),
        ("703.ESVLo", (8799,)),
        ("705.Crv.1.Pt.0.V", (7699,)),
        ("705.RvrtCrv", (4,)),
        ("715.OpCtl", (3,)),
        ("715.OpCtl", (4,)),
        ("715.AlarmReset", (2,)),
        ("121.WMax", (0,)),
        ("121.VArMaxQ4", (1,)),
        ("123.WMaxLimPct", (10001,)),
        ("123.OutPFSet", (0,)),
        ("123.OutPFSet", (10001,)),
        ("123.VArPct_Mod", (3,)),
        ("123.VArPct_Ena", (1,)),
        ("124.StorCtl_Mod", (4,)),
        ("124.WChaGra", (50,)),
        ("802.SetOp", (0,)),
        ("802.SetInvState", (4,)),
        ("1.DA", (7,)),
    ],
)
def test_values_that_a_point_may_not_have_are_refused(battery: Served, point: str, words: tuple[int, ...]) -> None:
    before = battery.bank.image(0).tolist()
    assert _write(battery, battery.bank.maps[0][point].address, *words) == b"\x90\x03"
    assert battery.bank.image(0).tolist() == before


def test_under_local_control_everything_is_read_and_nothing_written(battery: Served) -> None:
    battery.bank.set_local(0, True)
    assert battery.read("715.LocRemCtl") == 1
    assert battery.read("802.LocRemCtl") == 1
    assert _write(battery, battery.bank.maps[0]["704.WMaxLimPct"].address, 5000) == b"\x90\x04"
    battery.bank.set_local(0, False)
    assert _write(battery, battery.bank.maps[0]["704.WMaxLimPct"].address, 5000)[:1] == b"\x10"
