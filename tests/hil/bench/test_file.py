"""Bench files are read as strictly as scenarios, and tell every problem at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from derloop.errors import DerloopError, ScenarioError
from hil.bench.devices import Links
from hil.bench.file import Bench, Expected, arming_problems, bench_schema, read_bench
from hil.instruments.command_map import read_command_map
from hil.inverter.device import Identity

DEVICE = {"endpoint": {"transport": "tcp", "host": "192.0.2.7"}}


def bench(folder: Path, **file: Any) -> Bench:
    path = folder / "lab.json"
    path.write_text(json.dumps({"name": "lab", "devices": {"inv-1": DEVICE}, **file}), encoding="utf-8")
    return read_bench(path)


def problems(folder: Path, **file: Any) -> dict[str, str]:
    with pytest.raises(ScenarioError) as refused:
        bench(folder, **file)
    return {problem.pointer: problem.what for problem in refused.value.problems}


def test_every_problem_of_a_file_is_told_at_once_with_its_pointer(tmp_path: Path) -> None:
    device = {"endpoint": {"transport": "tcp", "hots": "a"}, "unti": 3, "silence": {"policy": "hold"}}
    assert problems(tmp_path, devices={"inv-1": device, "Inv 2": DEVICE}) == {
        "/devices/inv-1/endpoint/hots": "unknown; did you mean 'host'?",
        "/devices/inv-1/unti": "unknown; did you mean 'unit'?",
        "/devices/inv-1/silence/max_age_s": "is missing",
        "/devices/Inv 2": "must be lower-case letters and digits, beginning with a letter, "
        "with single -, _ or . between them: inverter-1, not 'Inv 2'",
    }


def test_two_names_for_one_device_are_refused(tmp_path: Path) -> None:
    found = problems(tmp_path, devices={"inv-1": DEVICE, "inv-2": DEVICE})
    assert found == {"/devices/inv-2/unit": "192.0.2.7:502 unit 1 is device 'inv-1' already"}


@pytest.mark.parametrize(
    "other",
    [
        {"transport": "tcp", "host": "127.0.0.1"},
        {"transport": "tcp", "host": "LOCALHOST."},
        {"transport": "tcp", "host": "0.0.0.0"},
        {"transport": "rtu-over-tcp", "host": "localhost", "port": 502},
    ],
)
def test_one_device_is_recognised_however_its_address_is_spelt(tmp_path: Path, other: dict[str, Any]) -> None:
    here = {"endpoint": {"transport": "tcp", "host": "localhost"}}
    found = problems(tmp_path, devices={"inv-1": here, "inv-2": {"endpoint": other}})
    assert found.keys() == {"/devices/inv-2/unit"}
    assert "is device 'inv-1' already" in found["/devices/inv-2/unit"]


def test_a_device_is_not_all_of_its_line(tmp_path: Path) -> None:
    """It was asked, and said not to answer."""
    line = {"transport": "rtu-over-tcp", "host": "192.0.2.7", "port": 4001}
    devices = {"inv-1": {"endpoint": line, "unit": 0}, "inv-2": {**DEVICE, "unit": 0}}
    meter = {"kind": "meter", "commands": "sunspec"}
    instruments = {
        f"pm-{unit}": {**meter, "at": {"transport": "modbus", "endpoint": line, "unit": unit}} for unit in (0, 7)
    }
    what = "0 is all devices on a serial line; one of them is 1 to 247"
    assert problems(tmp_path, devices=devices, instruments=instruments) == {
        "/devices/inv-1/unit": what,
        "/instruments/pm-0/at/unit": what,
    }


def test_hosts_and_ports_that_are_none_are_refused(tmp_path: Path) -> None:
    """An emulator may be told them: on any host, at a port that is free. As a device's they were called right."""
    nowhere = {"transport": "tcp", "host": " ", "port": 0}
    meter = {"kind": "meter", "commands": "sunspec", "at": {"transport": "modbus", "endpoint": nowhere}}
    host, port = "names no host", "0 is no port at which anything listens; one is 1 to 65535"
    assert problems(tmp_path, devices={"inv-1": {"endpoint": nowhere}}, instruments={"meter": meter}) == {
        "/devices/inv-1/endpoint/host": host,
        "/devices/inv-1/endpoint/port": port,
        "/instruments/meter/at/endpoint/host": host,
        "/instruments/meter/at/endpoint/port": port,
    }
    source = {"kind": "dc-source", "commands": "scpi-dc-source", "at": {"transport": "tcp", "host": ""}}
    source |= {"v_dc_v": {"low": 0, "high": 500}, "i_dc_a": {"low": 0, "high": 10}}
    assert "/instruments/pv/at/host" in problems(tmp_path, instruments={"pv": source})


def test_a_serial_port_is_set_up_once_for_all_devices_on_it(tmp_path: Path) -> None:
    """The second was asked at the speed of the first, and did not answer."""
    port = {"transport": "serial", "path": "ttyUSB0"}
    (tmp_path / "by-id").symlink_to("ttyUSB0")
    devices = {
        "inv-1": {"endpoint": port},
        "inv-2": {"endpoint": {**port, "baud": 19200, "parity": "even"}, "unit": 2},
        "inv-3": {"endpoint": {**port, "path": "by-id"}, "unit": 3, "own_connection": True},
        "inv-4": {"endpoint": {**port, "path": "by-id"}, "unit": 4},
    }
    first = "9600 baud, parity none, 1 stop bits"
    assert problems(tmp_path, devices=devices) == {
        "/devices/inv-2/endpoint": f"{tmp_path}/ttyUSB0 is opened once, for device 'inv-1' with {first}, not "
        "19200 baud, parity even, 1 stop bits",
        "/devices/inv-3/own_connection": f"{tmp_path}/by-id is opened once, and devices 'inv-1' and 'inv-3' are on it",
    }


def test_devices_share_a_connection_where_all_of_it_is_the_same(tmp_path: Path) -> None:
    """A device with a certificate of its own was spoken to with that of the first at its endpoint."""
    tls = {"transport": "tls", "host": "192.0.2.7", "certificate": "a.pem", "key": "a.pem", "authority": "ca.pem"}
    serial = {"transport": "serial", "path": "ttyUSB0"}
    (tmp_path / "by-id").symlink_to("ttyUSB0")
    endpoints = [tls, tls, {**tls, "certificate": "b.pem", "key": "b.pem"}, serial, {**serial, "path": "by-id"}]
    devices = {f"inv-{i}": {"endpoint": endpoint, "unit": i} for i, endpoint in enumerate(endpoints, 1)}
    together: list[Sequence[str]] = []
    Links(bench(tmp_path, devices=devices), [*devices], together.append)
    assert together == [["inv-1", "inv-2"], ["inv-3"], ["inv-4", "inv-5"]]


def test_what_does_not_fit_together_is_told_beside_what_is_wrong_by_itself(tmp_path: Path) -> None:
    power = {"ac_source": "grd", "nominal_v": 230}
    devices = {
        "inv-1": {**DEVICE, "power": power},
        "inv-2": {**DEVICE, "unti": 2, "power": power},
        "inv-3": {**DEVICE, "unit": 3, "power": {**power, "ac_source": "other"}},
    }
    watched = [{"device": name, "point": "701.Alrm", "stop_when": "above", "value": 0} for name in ("inv-2", "inv-9")]
    instruments = {
        "grid": {"kind": "ac-source", "at": {"transport": "tcp", "port": 5025}, "commands": "none.json"},
        "other": {"kind": "ac-sauce"},
    }
    found = problems(tmp_path, devices=devices, instruments=instruments, emergency_stop={"inputs": watched})
    assert found["/devices/inv-1/power/ac_source"] == "no instrument 'grd'; did you mean 'grid'?"
    assert found["/devices/inv-2/power/ac_source"] == "no instrument 'grd'; did you mean 'grid'?"
    assert found["/devices/inv-2/unti"] == "unknown; did you mean 'unit'?"
    assert found["/emergency_stop/inputs/1/device"].startswith("no device 'inv-9'")
    assert not any(pointer.startswith(("/devices/inv-3", "/emergency_stop/inputs/0")) for pointer in found)


def test_devices_do_not_share_a_source_that_has_one_voltage_for_all_its_phases(tmp_path: Path) -> None:
    output = {"command": "OUTP {value}", "query": "OUTP?"}
    settings = {"f_hz": {"command": "FREQ {value}", "query": "FREQ?"}, "output": output}
    apart = {"command": "SOUR{phase}:VOLT {value}", "query": "SOUR{phase}:VOLT?"}
    source = {
        "kind": "ac-source",
        "at": {"transport": "tcp"},
        "commands": "ours.json",
        "v_ln_v": {"low": 0, "high": 280},
    }
    devices = {
        f"inv-{i}": {**DEVICE, "unit": i, "power": {"ac_source": "grid", "nominal_v": 230, "phases": [i]}}
        for i in (1, 2)
    }
    maps = {"one": {"command": "VOLT {value}", "query": "VOLT?"}, "apart": apart}
    for name, voltage in maps.items():
        said = {"name": name, "settings": {**settings, "v_ln_v": voltage}}
        (tmp_path / "ours.json").write_text(json.dumps(said), encoding="utf-8")
        if name == "apart":
            assert bench(tmp_path, devices=devices, instruments={"grid": source}).file.devices.keys() == devices.keys()
        else:
            assert problems(tmp_path, devices=devices, instruments={"grid": source}) == {
                "/devices/inv-2/power/ac_source": "'ours.json' sets v_ln_v for all phases at once, and device 'inv-1' "
                "is on 'grid' already: each would need its own"
            }


def test_devices_do_not_share_an_entry_of_a_meter(tmp_path: Path) -> None:
    source = {"kind": "ac-source", "at": {"transport": "tcp"}, "commands": "scpi-99-ac-source"}
    meter = {"kind": "meter", "at": {"transport": "tcp", "port": 5026}, "commands": "scpi-99-power-meter"}
    apart = {f"meter-{i}": {**meter, "phases": [i]} for i in (1, 2)}
    instruments = {"grid": {**source, "v_ln_v": {"low": 0, "high": 280}}, "meter": meter, **apart}

    def devices(*meters: str) -> dict[str, Any]:
        power = {"ac_source": "grid", "nominal_v": 230}
        wired = [{**power, "phases": [i], "meter": each} for i, each in enumerate(meters, 1)]
        return {f"inv-{i}": {**DEVICE, "unit": i, "power": each} for i, each in enumerate(wired, 1)}

    bench(tmp_path, devices=devices("meter-1", "meter-2"), instruments=instruments)
    assert problems(tmp_path, devices=devices("meter", "meter"), instruments=instruments) == {
        "/devices/inv-2/power/meter": "'meter' is the meter of device 'inv-1' already, and is read for all of its "
        "phases: each needs an entry that reads its own alone"
    }


def test_two_names_for_one_source_are_refused_but_not_for_two_of_its_outputs(tmp_path: Path) -> None:
    """A supply with two outputs has a command map for each; an instrument may measure, too."""
    shipped = read_command_map("scpi-99-dc-source", tmp_path).model_dump_json(by_alias=True, exclude_none=True)
    for number in (1, 2):
        (tmp_path / f"out-{number}.json").write_text(shipped.replace("OUTP", f"OUTP{number}"), encoding="utf-8")
    limits = {"v_dc_v": {"low": 0, "high": 600}, "i_dc_a": {"low": 0, "high": 30}}
    supply = {"kind": "dc-source", "at": {"transport": "tcp", "host": "192.0.2.9"}, **limits}
    outputs = {f"out-{number}": {**supply, "commands": f"out-{number}.json"} for number in (1, 2)}
    meter = {"kind": "meter", "at": supply["at"], "commands": "scpi-99-power-meter"}
    bench(tmp_path, instruments={**outputs, "meter": meter, "again": meter})
    assert problems(tmp_path, instruments={**outputs, "twin": outputs["out-2"]}) == {
        "/instruments/twin/at": "this is source 'out-2' already, in the same words"
    }


def test_devices_that_share_a_source_agree_on_what_it_is_set_to(tmp_path: Path) -> None:
    at, limits = {"at": {"transport": "tcp"}}, {"v_dc_v": {"low": 0, "high": 600}, "i_dc_a": {"low": 0, "high": 30}}
    grid = {"kind": "ac-source", "commands": "scpi-99-ac-source", **at, "v_ln_v": {"low": 0, "high": 280}}
    instruments = {"grid": grid, "array": {"kind": "dc-source", "commands": "scpi-99-dc-source", **at, **limits}}

    def devices(*wired: tuple[float, float]) -> dict[str, Any]:
        powers = (
            {"ac_source": "grid", "nominal_v": 230, "phases": [i], "f_hz": f_hz}
            | {"dc": {"source": "array", "v_dc_v": v_dc_v, "i_dc_a": 10}}
            for i, (f_hz, v_dc_v) in enumerate(wired, 1)
        )
        return {f"inv-{i}": {**DEVICE, "unit": i, "power": each} for i, each in enumerate(powers, 1)}

    bench(tmp_path, devices=devices((60, 400), (60, 400)), instruments=instruments)
    assert problems(tmp_path, devices=devices((60, 400), (50, 400), (60, 380)), instruments=instruments) == {
        "/devices/inv-2/power/f_hz": "'grid' is set otherwise for device 'inv-1' already, and cannot be both",
        "/devices/inv-3/power/dc": "'array' is set otherwise for device 'inv-1' already, and cannot be both",
    }


def test_an_input_that_stops_everything_is_one_of_the_bench(tmp_path: Path) -> None:
    watched = {"device": "inv-11", "point": "701.Alrm", "stop_when": "above", "value": 0}
    found = problems(tmp_path, emergency_stop={"inputs": [watched]})
    assert found == {"/emergency_stop/inputs/0/device": "no device 'inv-11'; did you mean 'inv-1'?"}


def test_a_device_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(DerloopError, match=r"bench 'lab' \(lab.json\) has no device 'inv-7'; did you mean 'inv-1'\?"):
        bench(tmp_path).device("inv-7")


def test_a_pattern_gives_its_devices_in_the_order_in_which_people_count(tmp_path: Path) -> None:
    devices = {f"inv-{i}": {**DEVICE, "unit": i} for i in (10, 2, 1)} | {"bat-3": {**DEVICE, "unit": 3}}
    assert bench(tmp_path, devices=devices).select("inv-*") == ("inv-1", "inv-2", "inv-10")


def test_certificates_lie_beside_the_bench_file(tmp_path: Path) -> None:
    endpoint = {"transport": "tls", "certificate": "keys/us.pem", "key": "/etc/us.key", "authority": "ca.pem"}
    found: Any = bench(tmp_path, devices={"inv-1": {"endpoint": endpoint}}).address("inv-1").endpoint
    assert found.certificate == tmp_path / "keys/us.pem"
    assert found.key == Path("/etc/us.key")


def test_only_devices_of_the_bench_are_armed_and_each_by_its_name(tmp_path: Path) -> None:
    made = bench(tmp_path)
    assert arming_problems(made, ["inv-1"]) == []
    assert arming_problems(made, ["inv-*", "inv-2"]) == [
        "--arm inv-*: patterns arm nothing; name each",
        "--arm inv-2: bench 'lab' has no such device; did you mean 'inv-1'?",
    ]


def test_another_device_than_expected_is_told_by_what_differs() -> None:
    wanted, found = Expected(manufacturer="A", serial="17"), Identity(manufacturer="A", model="x", serial="18")
    assert wanted.differences(found) == ["serial is '18', not '17'"]


def test_the_schema_takes_what_the_reader_takes(tmp_path: Path) -> None:
    whole = {
        "$schema": "bench.schema.json",
        "name": "lab",
        "devices": {
            "inv-1": {
                **DEVICE,
                "silence": {"policy": "hold", "max_age_s": 2},
                "safety": {"lease": {"kind": "none", "because": "the breaker opens by itself"}},
            }
        },
    }
    jsonschema.Draft202012Validator(bench_schema()).validate(whole)
    assert bench(tmp_path, **whole).device("inv-1").safety.lease.kind == "none"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(bench_schema()).validate({**whole, "device": {}})


def test_every_key_of_a_bench_file_is_in_its_reference() -> None:
    text = (Path(__file__).parents[3] / "docs" / "reference" / "bench-files.md").read_text("utf-8")
    schema = bench_schema()
    ours = ["DeviceEntry", "Expected", "Timing", "SafetyRules", "Tcp", "Tls", "Serial", "RtuOverTcp"]
    keys = {key for name in ours for key in schema["$defs"][name]["properties"]} | set(schema["properties"])
    assert {key for key in keys - {"$schema", "transport"} if f"`{key}`" not in text} == set()


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[3] / "hil" / "benches").glob("*.json")), ids=str)
def test_example_benches_can_be_read(path: Path) -> None:
    found = read_bench(path)
    assert found.names
    jsonschema.Draft202012Validator(bench_schema()).validate(json.loads(path.read_text("utf-8")))


def test_an_emergency_stop_that_could_never_come_is_refused(tmp_path: Path) -> None:
    watched = [
        {"device": "inv-1", "point": "701.Alrm", "stop_when": "any_bit", "value": value} for value in (0, 0.5, -1, 2)
    ]
    found = problems(tmp_path, emergency_stop={"inputs": watched})
    assert sorted(found) == [f"/emergency_stop/inputs/{index}/value" for index in (0, 1, 2)]
    assert "any_bit needs a whole number above 0" in found["/emergency_stop/inputs/0/value"]
    found = problems(tmp_path, emergency_stop={"file": "nowhere/STOP"})
    assert "there is no folder" in found["/emergency_stop/file"]


def test_a_command_map_whose_name_no_file_can_have_is_told_with_its_pointer(tmp_path: Path) -> None:
    """The check of a bench file ended in a traceback."""
    at = {"transport": "tcp", "host": "192.0.2.8"}
    source = {"kind": "ac-source", "at": at, "commands": "x" * 300, "v_ln_v": {"low": 0, "high": 280}}
    found = problems(tmp_path, instruments={"grid": source})
    assert found == {"/instruments/grid/commands": f"'{'x' * 300}': cannot be read: File name too long"}


@pytest.mark.parametrize(("name", "why"), [("x" * 300, "File name too long"), ("a\0b", "it holds a null character")])
def test_a_stop_file_whose_name_no_file_can_have_is_told_with_its_pointer(name: str, why: str, tmp_path: Path) -> None:
    found = problems(tmp_path, emergency_stop={"file": name})
    assert found == {"/emergency_stop/file": f"no file can be called so: {why}"}


def test_a_stop_file_in_a_folder_whose_name_none_can_have_is_told_with_its_pointer(tmp_path: Path) -> None:
    found = problems(tmp_path, emergency_stop={"file": f"{'x' * 300}/stop"})
    assert found["/emergency_stop/file"].startswith("there is no folder ")
