"""derloop bench check, read and scan against emulated devices: what is there, what it holds, what is missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from certificates import Authority
from emulated import described
from typer.testing import CliRunner, Result

from derloop.cli import app
from hil.bench.answers import Answered
from hil.bench.draft import write_served
from hil.bench.file import read_bench
from hil.bench.findings import Finding, find
from hil.bench.tables import show_answers, show_findings
from hil.bench.watching import Seen, watch
from hil.emulator.bank import RegisterBank
from hil.emulator.nameplate import Ratings
from hil.inverter.device import Identity
from hil.inverter.measurements import Measurements
from hil.modbus.endpoint import Address, Tcp, Tls
from hil.modbus.pdu import ExceptionAnswer, ExceptionCode, Function, read, request_bytes
from hil.serving.clone import clone
from hil.serving.device import plain
from hil.serving.file import FleetEntry
from hil.serving.fleet import BankServer
from hil.serving.responder import BankResponder, RegisterResponder, Responder, Units
from hil.serving.scan_file import read_scan
from hil.serving.server import Line, Server

Entries = dict[str, Any]
NOBODY = {"transport": "tcp", "host": "127.0.0.1", "port": 1}
"""Nothing listens at tcpmux's port."""


def bench(*words: Any) -> Result:
    return CliRunner().invoke(app, ["bench", *map(str, words)])


def test_a_device_that_is_what_the_file_says_is_found_with_what_it_can_do(write_bench: Any, entries: Entries) -> None:
    expected = {"manufacturer": "derloop", "serial": "bat_1"}
    path = write_bench({"bat-1": {**entries["bat-1"], "identity": expected, "rated_kva": 5.5}})
    (found,) = find(read_bench(path), ["bat-1"])
    assert found.is_fine
    assert found.identity == Identity("derloop", "emulated DER", "1", "bat_1")
    assert found.models == ("1", *map(str, range(701, 714)))
    rated = {"s_max_va": 5500, "p_max_w": 5000, "v_nominal_v": 120, "energy_wh": 20e3}
    assert {what: found.rated[what] for what in rated} == rated  # type: ignore[index]
    assert found.commands == ("limit_fraction", "p_w", "q_var", "volt_var")


def test_what_equipment_calls_itself_does_not_steer_the_terminal(
    write_bench: Any, entries: Entries, capsys: pytest.CaptureFixture[str]
) -> None:
    lab = read_bench(write_bench(entries))
    show_findings(lab, [Finding("inv-1", "here", identity=Identity("\x1b[2JMaker", "Model"), models=("1",))])
    show_answers(lab, [Answered("meter", "there", identity="\x1b[8mMETER")])
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert "\\x1b[2JMaker Model\n" in said
    assert "\\x1b[8mMETER\n" in said


def test_check_ends_with_0_when_all_is_well_and_3_when_something_is_not(write_bench: Any, entries: Entries) -> None:
    good = bench("check", write_bench(entries))
    assert good.exit_code == 0
    assert "2 of 2 devices are what the file says" in good.output
    other = {**entries["inv-1"], "identity": {"serial": "17"}, "rated_kva": 50}
    bad = bench("check", write_bench({**entries, "inv-1": other, "gone": {"endpoint": NOBODY}}))
    assert bad.exit_code == 3
    assert "serial is 'pv_1', not '17'" in bad.output
    assert "is rated 11 kVA, not 50" in bad.output
    assert "Connection refused" in bad.output
    assert "1 of 3 devices are what the file says" in bad.output


def test_a_wrong_file_ends_with_2_and_no_traceback(write_bench: Any) -> None:
    wrong = bench("check", write_bench({"inv-1": {"endpoint": {"transport": "tpc"}}}))
    assert wrong.exit_code == 2
    assert "/devices/inv-1/endpoint/transport: must be one of" in wrong.output
    assert "Traceback" not in wrong.output


def test_points_that_safety_rules_name_and_a_device_lacks_are_told(write_bench: Any, entries: Entries) -> None:
    limits = {"points": {"705.Crv.*": {"low": -30}, "706.Curve.*": {"low": 0}}, "may_write": ["704.*", "799.*"]}
    safe = {"701.W": 0, "704.WStop": 1, "704.WMaxLimPct": "none", "704.WMaxLimPctEna": "ENABLED"}
    budget = {"704.WSett": {"per_day": 100}}
    safety = {"safe_state": {"points": safe}, "limits": limits, "write_budget": {"points": budget}}
    path = write_bench({"inv-1": {**entries["inv-1"], "safety": safety}})
    (found,) = find(read_bench(path), ["inv-1"])
    told = [problem.partition(";")[0] for problem in found.problems]
    assert told == [
        "has no point '706.Curve.*', which its safety rules name",
        "has no point '704.WSett', which its safety rules name",
        "cannot be brought to its safe_state: 701.W can only be read",
        "has no point '704.WStop', which its safety rules name",
        "cannot hold its safe_state: point '704.WMaxLimPct': takes a number, not 'none'",
    ]


def test_points_that_an_emergency_stop_looks_at_and_a_device_lacks_are_told(write_bench: Any, entries: Entries) -> None:
    watched = [
        {"device": "inv-1", "point": point, "stop_when": "any_bit", "value": 2} for point in ("701.Alrm", "701.A1")
    ]
    found = find(read_bench(write_bench(entries, emergency_stop={"inputs": watched})), ["inv-1", "bat-1"])
    assert [each.problems for each in found] == [
        ("has no point '701.A1', at which emergency_stop looks; did you mean '701.AL1'?",),
        (),
    ]


def test_points_are_read_by_name_and_pattern_with_their_units(
    write_bench: Any, entries: Entries, emulator: BankServer
) -> None:
    p_w, q_var, v_v = np.array([1234.0, -500.0]), np.zeros(2), np.array([240.0, 120.0])
    emulator.bank.set_measurements(Measurements.of(p_w, q_var, v_v, soc_pct=np.array([np.nan, 55.0])))
    path = write_bench(entries)
    said = bench("read", path, "bat-1", "701.W", "713.SoC", "702.W*ChaRteMaxRtg")
    rows = [line.split() for line in said.output.splitlines()]
    assert ["701.W", "40080", "read", "-500", "W"] in rows
    assert ["713.SoC", "40944", "read", "55", "Pct"] in rows
    assert [row[0] for row in rows if row[0].startswith("702.")] == [*("702.WChaRteMaxRtg", "702.WDisChaRteMaxRtg")]


def test_a_point_or_device_that_there_is_not_is_told_with_what_may_be_meant(write_bench: Any, entries: Entries) -> None:
    path = write_bench(entries)
    assert "has no point '701.Ww'; did you mean '701.W'?" in bench("read", path, "bat-1", "701.Ww").output
    assert "has no device 'bat-2'; did you mean 'bat-1'?" in bench("read", path, "bat-2").output


def test_nothing_is_read_from_another_device_than_expected(write_bench: Any, entries: Entries) -> None:
    path = write_bench({"inv-1": {**entries["inv-1"], "identity": {"serial": "17"}}})
    said = bench("read", path, "inv-1")
    assert said.exit_code == 2
    assert "is another device than the bench file expects: serial is 'pv_1', not '17'" in said.output


def test_watching_knows_another_device_that_takes_the_place_of_the_expected_one(
    write_bench: Any, entries: Entries, emulator: BankServer, bank: RegisterBank
) -> None:
    """It is swapped between two rounds: no reading is missed, and its registers are laid out alike."""
    path = write_bench({"inv-1": {**entries["inv-1"], "identity": {"serial": "pv_1"}}})
    endpoint = emulator.addresses[0].endpoint
    assert isinstance(endpoint, Tcp)
    other = RegisterBank([described(Ratings("pv_2", 10e3, 11e3, 4840.0, 4840.0, 240.0))])
    swapped = Server([Line(Tcp(port=endpoint.port), Units({1: BankResponder(other, 0)}))])
    problems: list[str] = []

    def show(seen: list[Seen]) -> None:
        problems.append(seen[0].problem)
        if len(problems) == 1:
            emulator.stop()
            swapped.start()

    try:
        watch(read_bench(path), ["inv-1"], 0.2, show, rounds=2)
    finally:
        swapped.stop()
    assert problems[0] == ""
    assert "is another device than the bench file expects" in problems[1]


def test_a_scan_writes_a_bench_file_that_checks_without_a_problem(tmp_path: Path, emulator: BankServer) -> None:
    places = [str(address.endpoint) for address in emulator.addresses]
    out = tmp_path / "draft.json"
    said = bench("scan", *places, "127.0.0.1:1", "--units", "1-2", "--pause", "0", "--out", out)
    assert said.exit_code == 0
    assert said.output.count("SunSpec") == 2
    assert said.output.count("Connection refused") == 1, "a place where nobody listens is asked once"
    draft = json.loads(out.read_text())
    assert draft["devices"]["bat-1"]["identity"]["serial"] == "bat_1"
    assert draft["devices"]["bat-1"]["safety"]["limits"]["p_w"] == {"low": -4000, "high": 5000}
    assert bench("check", out).exit_code == 0


def test_a_bench_file_of_emulated_devices_has_all_of_them_by_names_that_it_takes(tmp_path: Path) -> None:
    """Devices may be called what those of a bench may not, as 12_oak_street, or differ in capitals alone."""
    names = ["INV", "inv", "inv", "roofs__0", "a-", "x" * 70, "x" * 69, "12_oak_street", "_", f"{'y' * 59}_y"]
    path = tmp_path / "served.json"
    write_served(path, [(name, Address(Tcp(port=2000 + at))) for at, name in enumerate(names)])
    devices = read_bench(path).file.devices
    assert [entry.endpoint for entry in devices.values()] == [Tcp(port=2000 + at) for at in range(10)]
    plain = ["inv", "inv-2", "inv-3", "roofs_0", "a", "x" * 60, "x" * 55 + "-2"]
    assert [*devices] == [*plain, "device-12_oak_street", "device", "y" * 59]


def test_a_scan_does_not_write_over_a_bench_file(write_bench: Any, entries: Entries) -> None:
    path = write_bench(entries)
    before = path.read_text()
    said = bench("scan", "127.0.0.1:1", "--out", path)
    assert said.exit_code == 2
    assert "is there already" in said.output
    assert path.read_text() == before


def test_a_scan_keeps_every_register_for_an_emulator(tmp_path: Path, emulator: BankServer) -> None:
    bench("scan", emulator.addresses[1].endpoint, "--pause", "0", "--registers", tmp_path)
    kept = json.loads((tmp_path / "bat-1.scan.json").read_text())
    (run,) = kept["registers"]
    image = emulator.bank.image(1)
    assert run["address"] == 40000
    assert bytes.fromhex(run["words"]) == image.astype(">u2").tobytes()
    assert kept["sunspec"]["models"] == [1, *range(701, 714)]
    assert kept["behaviour"]["functions"] == [3]
    assert kept["behaviour"]["connections"] == 2


class Some:
    """Registers of which there are a few."""

    def __init__(self, words: dict[int, int]) -> None:
        self._words, self.reads = words, 0

    def read(self, address: int, count: int) -> list[int]:
        self.reads += 1
        if not all(at in self._words for at in range(address, address + count)):
            raise ExceptionAnswer(ExceptionCode.ILLEGAL_ADDRESS)
        return [self._words[at] for at in range(address, address + count)]

    def write(self, address: int, words: Any) -> None:
        raise ExceptionAnswer(ExceptionCode.ILLEGAL_ADDRESS)


class Pairs(Some):
    """Numbers of two registers each, from even addresses on."""

    def read(self, address: int, count: int) -> list[int]:
        if address % 2 or count % 2:
            raise ExceptionAnswer(ExceptionCode.ILLEGAL_ADDRESS)
        return super().read(address, count)


def scanned(device: RegisterResponder, folder: Path) -> tuple[dict[str, Any], RegisterResponder]:
    """Scan registers 0 to 40 of a device, and return what is written of it, and a copy made of that."""
    with Server([Line(Tcp(port=0), Units({1: device}))]) as server:
        bench("scan", server.endpoints[0], "--pause", "0", "--registers", folder, "--span", "0-40")
    path = folder / "device-1.scan.json"
    copy = plain(clone("copy", read_scan(path))).responder
    return json.loads(path.read_text()), cast("RegisterResponder", copy)


def test_a_copy_has_input_registers_that_are_others_at_the_same_addresses(tmp_path: Path) -> None:
    functions = (Function.READ_HOLDING, Function.READ_INPUT)
    device = RegisterResponder(Some({10: 1, 11: 2}), functions, Some({10: 7, 30: 9}))
    kept, copy = scanned(device, tmp_path)
    assert kept["registers"] == [{"address": 10, "words": "00010002"}]
    assert kept["input_registers"] == [{"address": 10, "words": "0007"}, {"address": 30, "words": "0009"}]
    assert kept["behaviour"]["functions"] == [3, 4]
    for function, address in ((3, 10), (4, 10), (4, 30), (4, 11)):
        asked = request_bytes(read(address, 1, function))
        assert copy.respond(1, asked) == device.respond(1, asked)


def test_a_device_that_has_input_registers_alone_is_copied(tmp_path: Path) -> None:
    kept, copy = scanned(RegisterResponder(Some({}), (3, 4), Some({30: 9})), tmp_path)
    assert (kept["registers"], kept["behaviour"]["functions"]) == ([], [4])
    assert copy.respond(1, request_bytes(read(30, 1, 4))) == bytes.fromhex("04 02 0009")


def test_a_device_that_knows_no_input_registers_is_not_asked_for_each(tmp_path: Path) -> None:
    device = RegisterResponder(Some({10: 1}), (3,))
    asked = asked_of(device)
    kept, copy = scanned(device, tmp_path)
    assert (kept["input_registers"], kept["behaviour"]["functions"], asked.count(4)) == ([], [3], 1)
    assert copy.respond(1, request_bytes(read(10, 1, 4))) == b"\x84\x01"


def asked_of(device: RegisterResponder) -> list[int]:
    """Return the functions that a device is asked for from now on."""
    asked: list[int] = []
    answer = device.respond
    device.respond = lambda unit, pdu: asked.append(pdu[0]) or answer(unit, pdu)  # type: ignore[method-assign,func-returns-value]
    return asked


def test_a_device_that_refuses_every_input_register_is_not_asked_for_each(tmp_path: Path) -> None:
    device = RegisterResponder(Some(dict.fromkeys(range(41), 5)), (3, 4), Some({}))
    asked = asked_of(device)
    kept, _ = scanned(device, tmp_path)
    assert (kept["input_registers"], kept["behaviour"]["functions"], asked.count(4)) == ([], [3], 18)


def test_a_device_that_has_numbers_of_two_input_registers_alone_is_asked_for_all(tmp_path: Path) -> None:
    """It refuses half a number, as many do."""
    words = dict.fromkeys(range(41), 5)
    kept, _ = scanned(RegisterResponder(Some(words), (3, 4), Pairs(dict.fromkeys(range(20, 30), 6))), tmp_path)
    assert kept["input_registers"] == [{"address": 20, "words": "0006" * 10}]


def test_a_device_that_refuses_the_function_of_holding_registers_is_not_asked_for_each(tmp_path: Path) -> None:
    device = RegisterResponder(Some({}), (4,), Some(dict.fromkeys(range(41), 5)))
    asked = asked_of(device)
    kept, _ = scanned(device, tmp_path)
    assert kept["input_registers"] == [{"address": 0, "words": "0005" * 41}]
    assert asked.count(3) < 10


class SilentAtInputs:
    """A device that leaves requests for input registers unanswered."""

    def __init__(self, device: Responder) -> None:
        self._device = device

    def respond(self, unit: int, pdu: bytes) -> bytes | None:
        return None if pdu[0] == Function.READ_INPUT else self._device.respond(unit, pdu)


@pytest.mark.parametrize("has_map", [True, False])
def test_a_device_that_is_silent_at_input_registers_is_copied(
    tmp_path: Path, bank: RegisterBank, has_map: bool
) -> None:
    device = SilentAtInputs(BankResponder(bank, 0) if has_map else RegisterResponder(Some({10: 1})))
    with Server([Line(Tcp(port=0), Units({1: device}))]) as server:
        words = ("--pause", "0", "--deadline", "0.5", "--registers", tmp_path, "--span", "0-40")
        bench("scan", server.endpoints[0], *words)
    (path,) = tmp_path.iterdir()
    kept = json.loads(path.read_text())
    assert (len(kept["registers"]), kept["input_registers"], kept["behaviour"]["functions"]) == (1, [], [3])


def test_of_a_device_of_which_no_register_was_read_there_is_no_scan_file(tmp_path: Path) -> None:
    with Server([Line(Tcp(port=0), Units({1: RegisterResponder(Some({10: 1}), (3,))}))]) as server:
        said = bench("scan", server.endpoints[0], "--pause", "0", "--registers", tmp_path)
    assert said.exit_code == 0
    assert "; no register was read" in said.output
    assert not [*tmp_path.iterdir()]


def test_a_scan_over_tls_drafts_a_bench_file_with_its_certificates(tmp_path: Path, bank: RegisterBank) -> None:
    authority = Authority(tmp_path)
    theirs, ours = authority.sign("device"), authority.sign("client")
    listen = Tls(port=0, certificate=theirs.certificate, key=theirs.key, authority=theirs.authority)
    words = ["--certificate", ours.certificate, "--key", ours.key, "--authority", ours.authority, "--pause", "0"]
    (tmp_path / "drafts").mkdir()
    out = tmp_path / "drafts" / "lab.json"
    with BankServer(bank, entry=FleetEntry(listen=listen)) as server:
        at = server.addresses[0].endpoint
        assert "TLS needs --certificate, --key and --authority" in bench("scan", at).output
        said = bench("scan", at, *words, "--out", out)
        assert said.exit_code == 0, said.output
        assert said.output.count("SunSpec") == 1
        assert bench("check", out).exit_code == 0


def test_a_scan_that_finds_nothing_ends_with_3(tmp_path: Path) -> None:
    assert bench("scan", "127.0.0.1:1", "--out", tmp_path / "x.json").exit_code == 3
    assert not (tmp_path / "x.json").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["lab:port"], "is no HOST, HOST:PORT, rtu:HOST:PORT, tls:HOST:PORT or path of a serial port"),
        (["rtu:lab"], "RTU over TCP has no usual port"),
        (["lab", "--units", "9-3"], "must be numbers and ranges from 0 to 255"),
        (["lab", "--ports", "0"], "must be numbers and ranges from 1 to 65535"),
        (["lab", "--deadline", "0"], "Invalid value for '--deadline'"),
        (["lab", "--deadline", "nan"], "Invalid value for '--deadline'"),
        (["lab", "--pause", "-1"], "Invalid value for '--pause'"),
        (["/dev/ttyUSB0", "--baud", "5"], "Invalid value for '--baud'"),
    ],
)
def test_a_scan_of_what_cannot_be_is_refused_before_anything_is_asked(words: list[str], told: str) -> None:
    said = bench("scan", *words)
    assert said.exit_code == 2
    assert told in said.output
