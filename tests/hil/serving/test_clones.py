"""A copy of a scanned device answers as it did."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sunspec2.modbus.client import SunSpecModbusClientDeviceTCP
from sunspec2.modbus.modbus import ModbusClientException

from derloop.errors import ScenarioError
from hil.emulator.bank import RegisterBank
from hil.inverter.mapped import read_register_map, shipped_maps
from hil.inverter.measurements import Measurements
from hil.modbus.endpoint import Tcp
from hil.modbus.pdu import read, request_bytes, write
from hil.serving.chance import Chance
from hil.serving.clone import clone, latency, with_measured
from hil.serving.device import awkward, plain
from hil.serving.file import EmulatorFile
from hil.serving.quirks import Quirks
from hil.serving.responder import GoneDown
from hil.serving.scan_file import Behaviour, MeasuredLatency, ScanFile, read_scan
from hil.serving.server import Server
from hil.serving.standing import standing


@pytest.fixture
def scan(bank: RegisterBank) -> dict[str, Any]:
    """What a scan writes of the first device of the bank."""
    bank.set_measurements(Measurements.of(np.array([7500.0, 0]), np.zeros(2), np.array([240.5, 120])))
    words = bank.image(0).astype(">u2").tobytes()
    return {
        "derloop_scan": 1,
        "device": "derloop pv_1",
        "endpoint": "192.168.1.20:502",
        "unit": 3,
        "scanned": "2025-07-15T12:00:00+00:00",
        "registers": [{"address": 40000, "words": words.hex()}],
        "refused": [],
        "sunspec": {"base": 40000, "models": [1]},
        "behaviour": {
            "latency_ms": {"median": 2.0, "p95": 4.0},
            "connections": 1,
            "functions": [3],
            "untried": [6, 16],
        },
    }


def test_an_independent_client_finds_in_a_copy_what_the_device_had(scan: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "scan.json").write_text(json.dumps(scan))
    entry = {"scan": tmp_path / "scan.json", "unit": 3}
    lines = standing(EmulatorFile.model_validate({"clones": {"copy": entry}}))
    with Server([*lines.values()]) as server:
        (at,) = server.endpoints
        assert isinstance(at, Tcp)
        client = SunSpecModbusClientDeviceTCP(slave_id=3, ipaddr="127.0.0.1", ipport=at.port, timeout=30)
        client.connect()
        client.scan(connect=False)
        assert (client.common[0].SN.value, client.DERMeasureAC[0].W.cvalue) == ("pv_1", 7500.0)
        client.DERCtlAC[0].WMaxLimPct.cvalue = 66.5
        client.DERCtlAC[0].write()
        client.DERCtlAC[0].read()
        assert client.DERCtlAC[0].WMaxLimPct.cvalue == 66.5
        rating = client.DERCapacity[0].WMaxRtg
        rating.value = 1
        with pytest.raises(ModbusClientException, match="exception: 2"):
            rating.write()
        client.disconnect()


def test_what_the_device_did_not_have_or_take_the_copy_does_not_either(scan: dict[str, Any]) -> None:
    copy = plain(clone("copy", ScanFile.model_validate(scan))).responder
    assert copy.respond(3, request_bytes(read(39999, 2))) == b"\x83\x02"
    assert copy.respond(3, request_bytes(read(40000, 2, 4))) == b"\x84\x01"
    assert copy.respond(3, request_bytes(write(40000, (1, 2)))) == b"\x90\x02"


def test_a_device_without_a_map_is_copied_register_by_register() -> None:
    scan = {
        "derloop_scan": 1,
        "device": "meter",
        "endpoint": "/dev/ttyUSB0",
        "unit": 1,
        "scanned": "2025-07-15T12:00:00+00:00",
        "registers": [{"address": 10, "words": "00010002"}, {"address": 100, "words": "ffff"}],
    }
    copy = plain(clone("copy", ScanFile.model_validate(scan))).responder
    assert copy.respond(1, request_bytes(read(10, 2))) == bytes.fromhex("03 04 0001 0002")
    assert copy.respond(1, request_bytes(read(10, 3))) == b"\x83\x02"
    assert copy.respond(1, request_bytes(write(100, (7,)))) == bytes.fromhex("10 0064 0001")
    assert copy.respond(1, request_bytes(read(100, 1))) == bytes.fromhex("03 02 0007")


def test_a_copy_is_as_slow_and_as_limited_as_the_device_was_unless_told_otherwise(scan: dict[str, Any]) -> None:
    behaviour = Behaviour.model_validate({**scan["behaviour"], "interval_s": 1.0})
    found = with_measured(Quirks(), behaviour)
    assert (found.connections, found.slow) == (
        Quirks.model_validate({"connections": {}, "slow": {"only_writes": False}}).connections,
        found.slow,
    )
    assert found.slow is not None
    assert (found.slow.interval_s, found.slow.only_writes) == (1.0, False)
    told = Quirks.model_validate({"latency": {"mean_ms": 9}})
    assert with_measured(told, behaviour).latency == told.latency


def test_latencies_have_the_median_and_percentile_that_were_measured() -> None:
    found = latency(MeasuredLatency(median=2.0, p95=4.0))
    drawn = 1000 * np.array([Chance(0, "x").latency_s(found, number) for number in range(4000)])
    assert np.quantile(drawn, [0.5, 0.95]) == pytest.approx([2.0, 4.0], rel=0.05)


@pytest.mark.parametrize(("median", "p95"), [(0.3, 550.0), (0.001, 6e5), (1e-300, 1.0), (6e5, 6e5), (500.0, 1.0)])
def test_one_reading_that_took_long_leaves_a_copy_with_the_median_of_all(median: float, p95: float) -> None:
    """Of ten, one in 1 s is enough beside 0.3 ms: the copy could not be served."""
    found = latency(MeasuredLatency(median=median, p95=p95))
    drawn = 1000 * np.array([Chance(0, "x").latency_s(found, number) for number in range(4000)])
    assert np.median(drawn) == pytest.approx(median, rel=0.2)


def test_a_copy_that_reboots_has_again_what_was_scanned(scan: dict[str, Any]) -> None:
    hardware = clone("copy", ScanFile.model_validate(scan))
    point = hardware.points["704.WMaxLimPct"]
    copy = awkward(hardware, Quirks.model_validate({"reboot": {"after_requests": 2}})).responder
    first = request_bytes(read(point.address, 1))
    copy.respond(3, request_bytes(write(point.address, (1,))))
    with pytest.raises(GoneDown):
        copy.respond(3, first)
    assert copy.respond(3, first) == bytes.fromhex("03 02 2710")


@pytest.mark.parametrize(
    ("quirks", "held", "read_"),
    [
        ({"stuck": {"points": ["active_power"]}}, "0001", "0000 0007"),
        ({"stuck": {"addresses": [103, 200]}}, "0001", "0000 0007"),
        ({"not_implemented": ["active_power"]}, "0001", "8000 0000"),
        ({"moving_map": {"by": 1, "after_requests": 0}}, None, None),
    ],
)
def test_quirks_of_a_copy_meet_its_input_registers_too(
    scan: dict[str, Any], quirks: dict[str, Any], held: str | None, read_: str | None
) -> None:
    """Points that a map has there were looked for among those that it holds, where there was nothing to freeze."""
    language = read_register_map(shipped_maps()["example_string_inverter"])
    own = {"registers": [{"address": 200, "words": "0001"}], "sunspec": None, "behaviour": None}
    own |= {"input_registers": [{"address": 103, "words": "00000007"}]}
    hardware = replace(clone("copy", ScanFile.model_validate({**scan, **own})), points=language.map.points)
    copy = awkward(hardware, Quirks.model_validate(quirks)).responder
    for function, address, words in ((3, 200, held), (4, 103, read_)):
        there = b"" if words is None else bytes.fromhex(words)
        refused = bytes([function | 0x80, 2])
        answer = bytes([function, len(there)]) + there if there else refused
        assert copy.respond(1, request_bytes(read(address, len(there) // 2 or 1, function))) == answer


def test_a_quirk_of_a_point_whose_registers_were_not_scanned_is_refused(scan: dict[str, Any]) -> None:
    """Every reading was refused, as there was nothing to freeze."""
    language = read_register_map(shipped_maps()["example_string_inverter"])
    own = {"sunspec": None, "input_registers": [{"address": 103, "words": "0000"}]}  # active_power has two
    hardware = replace(clone("copy", ScanFile.model_validate({**scan, **own})), points=language.map.points)
    quirks = Quirks.model_validate({"stuck": {"points": ["voltage_l1", "active_power"]}})
    with pytest.raises(ScenarioError) as refused:
        awkward(hardware, quirks)
    assert [str(problem) for problem in refused.value.problems] == [
        "/stuck/points/0: copy has no register 107, where its map has 'voltage_l1'",
        "/stuck/points/1: copy has no register 104, where its map has 'active_power'",
    ]


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"derloop_scan": 2}, "/derloop_scan"),
        ({"registers": []}, "/registers"),
        ({"registers": [{"address": 1, "words": "zz"}]}, "/registers/0/words"),
        ({"registers": [{"address": 1, "words": "00"}]}, "/registers/0/words"),
        ({"refused": [[1]]}, "/refused/0"),
    ],
)
def test_what_is_wrong_in_a_scan_file_is_named(
    change: dict[str, Any], where: str, scan: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "scan.json").write_text(json.dumps({**scan, **change}))
    with pytest.raises(ScenarioError) as error:
        read_scan(tmp_path / "scan.json")
    assert error.value.problems[0].pointer.startswith(where)


def test_registers_that_are_no_sunspec_map_are_no_copy_of_one(scan: dict[str, Any]) -> None:
    broken = {**scan, "registers": [{"address": 40000, "words": "00010002"}]}
    with pytest.raises(ScenarioError, match="no SunSpec map"):
        clone("copy", ScanFile.model_validate(broken))


def test_what_is_wrong_with_a_copy_is_told_with_the_file_and_the_place_in_it(
    scan: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "scan.json").write_text(json.dumps(scan))
    quirks = {"not_implemented": ["701.WW"]}
    file = EmulatorFile.model_validate({"clones": {"copy": {"scan": tmp_path / "scan.json", "quirks": quirks}}})
    with pytest.raises(ScenarioError, match=r"has no point '701.WW'; did you mean '701.W'") as refused:
        standing(file, "devices.json")
    assert refused.value.source == "devices.json"
    assert refused.value.problems[0].pointer.startswith("/clones/copy/quirks/not_implemented")


def test_a_map_whose_registers_were_not_scanned_watches_nothing(scan: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "scan.json").write_text(json.dumps(scan))
    entry = {"scan": tmp_path / "scan.json", "speaks": shipped_maps()["example_battery_inverter"]}
    with pytest.raises(
        ScenarioError, match=r"/clones/copy/speaks: 'example battery inverter' does not fit copy"
    ) as said:
        standing(EmulatorFile.model_validate({"clones": {"copy": entry}}), "devices.json")
    assert "the registers of power_setpoint, mode, reactive_setpoint, heartbeat, heartbeat_timeout were" in str(
        said.value
    )
