"""What each quirk does, seen on the wire."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from derloop.errors import ScenarioError
from hil.emulator.bank import RegisterBank
from hil.modbus.endpoint import RtuOverTcp, Tcp
from hil.modbus.framing import MBAP, Frame
from hil.modbus.pdu import Request, read, request_bytes, write
from hil.serving.chance import Chance
from hil.serving.device import awkward, of_bank
from hil.serving.quirks import Latency, Quirks
from hil.serving.responder import GoneDown, Responder
from hil.serving.server import Server, line
from hil.sunspec.points import NO_PATTERN

SUNS = bytes.fromhex("03 04 53 75 6e 53")
READ_SUNS = request_bytes(read(40000, 2))


class Clock:
    """Time that goes on when it is told to."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def device(bank: RegisterBank, quirks: Mapping[str, Any], clock: Clock | None = None) -> Responder:
    return awkward(of_bank(bank, 0, "pv_1"), Quirks.model_validate(quirks), clock or Clock()).responder


def asked(responder: Responder, request: Request) -> str:
    """Return the answer in hexadecimal, or what happened instead."""
    try:
        answer = responder.respond(1, request_bytes(request))
    except GoneDown:
        return "down"
    return "silence" if answer is None else answer.hex(" ")


def reading(bank: RegisterBank, name: str) -> Request:
    return read(bank.maps[0][name].address, bank.maps[0][name].length)


def setting(bank: RegisterBank, name: str, *words: int) -> Request:
    return write(bank.maps[0][name].address, words)


def held(bank: RegisterBank, name: str) -> Any:
    return bank.maps[0].value(name, bank.image(0))


@contextmanager
def wire(bank: RegisterBank, quirks: Mapping[str, Any], rtu: bool = False) -> Iterator[socket.socket]:
    served = awkward(of_bank(bank, 0, "pv_1"), Quirks.model_validate(quirks))
    listen = RtuOverTcp(port=0) if rtu else Tcp(port=0)
    with Server([line(listen, {1: served})]) as server:
        (endpoint,) = server.endpoints
        assert isinstance(endpoint, Tcp | RtuOverTcp)
        with socket.create_connection(("127.0.0.1", endpoint.port), timeout=10) as connection:
            yield connection


def ask(connection: socket.socket, *transactions: int) -> None:
    connection.sendall(b"".join(MBAP.pack(Frame(1, READ_SUNS, each)) for each in transactions))


def received(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count and (more := connection.recv(count - len(data))):
        data += more
    return data


def answer(transaction: int, unit: int = 1) -> bytes:
    return MBAP.pack(Frame(unit, SUNS, transaction))


# what does not answer, or refuses


def test_a_share_of_requests_is_not_heard(bank: RegisterBank) -> None:
    responder = device(bank, {"silence": 0.25, "seed": 1})
    unheard = [asked(responder, read(40000, 2)) for _ in range(400)].count("silence")
    assert 70 <= unheard <= 130


def test_what_is_not_heard_is_not_done_and_what_is_muted_is(bank: RegisterBank) -> None:
    request = setting(bank, "704.WMaxLimPct", 500)
    assert (asked(device(bank, {"silence": 1}), request), held(bank, "704.WMaxLimPct")) == ("silence", 100.0)
    request = setting(bank, "704.WMaxLimPct", 5000)
    assert (asked(device(bank, {"mute": 1}), request), held(bank, "704.WMaxLimPct")) == ("silence", 50.0)


@pytest.mark.parametrize(
    ("quirks", "code"),
    [({"busy": 1}, "06"), ({"exceptions": {"share": 1}}, "04"), ({"exceptions": {"share": 1, "code": 5}}, "05")],
)
def test_refusals_without_a_reason_are_not_done(quirks: Mapping[str, Any], code: str, bank: RegisterBank) -> None:
    assert asked(device(bank, quirks), setting(bank, "704.WMaxLimPct", 5000)) == f"90 {code}"
    assert held(bank, "704.WMaxLimPct") == 100.0


@pytest.mark.parametrize(("answers", "refusal"), [("busy", "90 06"), ("silence", "silence")])
def test_one_command_in_a_while_is_taken(answers: str, refusal: str, bank: RegisterBank) -> None:
    responder = device(bank, {"slow": {"interval_s": 600, "answers": answers}})
    first, second = setting(bank, "704.WMaxLimPct", 5000), setting(bank, "704.WMaxLimPct", 4000)
    assert asked(responder, first).startswith("10")
    assert asked(responder, second) == refusal
    assert asked(responder, read(40000, 2)) == SUNS.hex(" ")
    assert held(bank, "704.WMaxLimPct") == 50.0


# what shows other registers than there are


def test_a_stuck_point_stays_and_others_move(bank: RegisterBank) -> None:
    responder = device(bank, {"stuck": {"points": ["704.WMaxLimPct"], "after_requests": 2}})
    limit = reading(bank, "704.WMaxLimPct")
    assert asked(responder, limit) == "03 02 27 10"
    asked(responder, setting(bank, "704.WMaxLimPct", 5000))
    assert asked(responder, limit) == "03 02 13 88"
    asked(responder, setting(bank, "704.WMaxLimPct", 4000))
    assert asked(responder, limit) == "03 02 13 88"
    assert held(bank, "704.WMaxLimPct") == 40.0


def test_a_stuck_register_can_be_told_by_its_address(bank: RegisterBank) -> None:
    at = bank.maps[0]["704.WMaxLimPct"].address
    responder = device(bank, {"stuck": {"addresses": [at]}})
    limit = reading(bank, "704.WMaxLimPct")
    assert asked(responder, limit) == "03 02 27 10"
    asked(responder, setting(bank, "704.WMaxLimPct", 5000))
    assert asked(responder, limit) == "03 02 27 10"


def test_a_stale_copy_is_made_anew_every_so_often(bank: RegisterBank, clock: Clock) -> None:
    responder, limit = device(bank, {"stale_s": 5}, clock), reading(bank, "704.WMaxLimPct")
    assert asked(responder, limit) == "03 02 27 10"
    asked(responder, setting(bank, "704.WMaxLimPct", 5000))
    clock.now_s = 4.9
    assert asked(responder, limit) == "03 02 27 10"
    clock.now_s = 5.0
    assert asked(responder, limit) == "03 02 13 88"
    assert asked(responder, read(1, 1)) == "83 02"


def test_points_that_are_not_implemented_read_so_and_cannot_be_written(bank: RegisterBank) -> None:
    responder = device(bank, {"not_implemented": ["701.W", "701.Hz", "704.WMaxLimPct"]})
    assert asked(responder, reading(bank, "701.W")) == "03 02 80 00"
    assert asked(responder, reading(bank, "701.Hz")) == "03 04 ff ff ff ff"
    assert asked(responder, setting(bank, "704.WMaxLimPct", 5000)) == "90 02"


def test_a_write_can_be_acknowledged_and_forgotten(bank: RegisterBank) -> None:
    responder = device(bank, {"forgets": 1})
    assert asked(responder, setting(bank, "704.WMaxLimPct", 5000)).startswith("10")
    assert held(bank, "704.WMaxLimPct") == 100.0


def test_a_write_can_be_rounded(bank: RegisterBank) -> None:
    responder = device(bank, {"rounds": {"704.WMaxLimPct": 10}})
    asked(responder, setting(bank, "704.WMaxLimPct", 6660))
    assert held(bank, "704.WMaxLimPct") == 70.0


def test_what_is_rounded_beyond_its_register_is_refused_as_what_was_written(bank: RegisterBank) -> None:
    responder = device(bank, {"rounds": {"702.WMax": 7000}})
    assert asked(responder, setting(bank, "702.WMax", 65533)) == "90 03"
    assert held(bank, "702.WMax") == 10e3


def test_a_map_moves_and_takes_its_writes_along(bank: RegisterBank) -> None:
    responder = device(bank, {"moving_map": {"by": 10_000, "after_requests": 1}})
    assert asked(responder, read(40000, 2)) == SUNS.hex(" ")
    assert asked(responder, read(40000, 2)) == "83 02"
    assert asked(responder, read(50000, 2)) == SUNS.hex(" ")
    assert asked(responder, read(3, 1)) == "83 02"
    asked(responder, write(bank.maps[0]["704.WMaxLimPct"].address + 10_000, (5000,)))
    assert held(bank, "704.WMaxLimPct") == 50.0


def test_a_reboot_loses_settings_and_connections(bank: RegisterBank, clock: Clock) -> None:
    responder = device(bank, {"reboot": {"at_s": 10, "down_s": 0.05}}, clock)
    asked(responder, setting(bank, "704.WMaxLimPct", 5000))
    clock.now_s = 10.0
    assert asked(responder, read(40000, 2)) == "down"
    assert asked(responder, read(40000, 2)) == "silence"
    time.sleep(0.06)
    assert asked(responder, reading(bank, "704.WMaxLimPct")) == "03 02 27 10"
    clock.now_s = 1000.0
    assert asked(responder, read(40000, 2)) == SUNS.hex(" ")


def test_a_reboot_can_move_the_map_and_keep_the_settings(bank: RegisterBank) -> None:
    reboot = {"after_requests": 2, "keeps_settings": True}
    responder = device(bank, {"reboot": reboot, "moving_map": {"by": -40_000}})
    asked(responder, setting(bank, "704.WMaxLimPct", 5000))
    assert asked(responder, read(40000, 2)) == "down"
    assert asked(responder, read(40000, 2)) == "83 02"
    assert asked(responder, read(0, 2)) == SUNS.hex(" ")
    assert held(bank, "704.WMaxLimPct") == 50.0


def test_a_device_that_goes_down_takes_every_connection_with_it(bank: RegisterBank) -> None:
    with wire(bank, {"reboot": {"after_requests": 2}}) as connection:
        ask(connection, 1)
        assert received(connection, 13) == answer(1)
        ask(connection, 2)
        assert _is_ended(connection)


# what becomes of answers on their way


def test_answers_in_pieces_are_whole_in_the_end(bank: RegisterBank) -> None:
    with wire(bank, {"split": {"pieces": 13, "pause_ms": 1}}) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ask(connection, 1)
        first = connection.recv(100)
        assert len(first) < 13
        ask(connection, 2)
        assert first + received(connection, 26 - len(first)) == answer(1) + answer(2)


def test_answers_wait_for_their_latency_and_keep_their_order(bank: RegisterBank) -> None:
    with wire(bank, {"latency": {"mean_ms": 50}}) as connection:
        began_s = time.monotonic()
        ask(connection, 1, 2)
        assert received(connection, 26) == answer(1) + answer(2)
        assert time.monotonic() - began_s >= 0.099


@pytest.mark.parametrize(("arrives", "second"), [("before-next", (1, 2)), ("after-next", (2, 1))])
def test_a_late_answer_comes_with_the_next(arrives: str, second: tuple[int, int], bank: RegisterBank) -> None:
    seed = next(s for s in range(1000) if _is_late(s) == [True, False])
    with wire(bank, {"late": {"share": 0.5, "arrives": arrives}, "seed": seed}) as connection:
        ask(connection, 1)
        ask(connection, 2)
        assert received(connection, 26) == answer(second[0]) + answer(second[1])


def _is_late(seed: int) -> list[bool]:
    return [Chance(seed, "pv_1").meets(0.5, "late", number) for number in (1, 2)]


def test_a_late_answer_comes_when_its_delay_is_over(bank: RegisterBank) -> None:
    with wire(bank, {"late": {"share": 1, "delay_ms": 80}}) as connection:
        began_s = time.monotonic()
        ask(connection, 1)
        assert received(connection, 13) == answer(1)
        assert time.monotonic() - began_s >= 0.079


def test_answers_come_in_another_units_name_or_to_another_transaction(bank: RegisterBank) -> None:
    with wire(bank, {"wrong_unit": 1, "wrong_transaction": 1}) as connection:
        ask(connection, 7)
        assert received(connection, 13) == answer(6, unit=2)


@pytest.mark.parametrize(("replaces", "length"), [(False, 5 + 13), (True, 5)])
def test_garbage_comes_before_or_instead_of_an_answer(replaces: bool, length: int, bank: RegisterBank) -> None:
    with wire(bank, {"garbage": {"share": 1, "bytes": 5, "replaces": replaces}}) as connection:
        ask(connection, 1)
        found = received(connection, length)
        assert found[5:] == (b"" if replaces else answer(1))
        assert found[:5] == Chance(0, "pv_1").bytes("noise", 1, 5)


@pytest.mark.parametrize(("next_", "survivor"), [("refused", 0), ("drops-first", 1)])
def test_one_connection_at_a_time(next_: str, survivor: int, bank: RegisterBank) -> None:
    served = awkward(of_bank(bank, 0, "pv_1"), Quirks.model_validate({"connections": {"next": next_}}))
    with Server([line(Tcp(port=0), {1: served})]) as server:
        there = ("127.0.0.1", server.endpoints[0].port)  # type: ignore[union-attr]
        with socket.create_connection(there, timeout=5) as first:
            ask(first, 1)
            assert received(first, 13) == answer(1)
            with socket.create_connection(there, timeout=5) as second:
                both = (first, second)
                assert _is_ended(both[1 - survivor])
                ask(both[survivor], 2)
                assert received(both[survivor], 13) == answer(2)


def _is_ended(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


# chance, and settings


def test_chance_follows_from_seed_device_and_request_alone() -> None:
    draws = [Chance(4, "a").draw("busy", number) for number in range(1000)]
    assert draws == [Chance(4, "a").draw("busy", number) for number in range(1000)]
    assert draws != [Chance(5, "a").draw("busy", number) for number in range(1000)]
    assert draws != [Chance(4, "b").draw("busy", number) for number in range(1000)]
    assert 0.47 < np.mean(draws) < 0.53
    assert 0 <= min(draws) < max(draws) < 1


@pytest.mark.parametrize(
    ("distribution", "spread_ms", "std_ms"),
    [("constant", 0.0, 0.0), ("uniform", 5.0, 5 / 3**0.5), ("exponential", 0.0, 10.0), ("lognormal", 4.0, 4.0)],
)
def test_latencies_have_the_mean_and_spread_of_their_distribution(
    distribution: str, spread_ms: float, std_ms: float
) -> None:
    latency = Latency.model_validate({"distribution": distribution, "mean_ms": 10, "spread_ms": spread_ms})
    found = 1000 * np.array([Chance(0, "x").latency_s(latency, number) for number in range(4000)])
    assert found.mean() == pytest.approx(10.0, rel=0.05)
    assert found.std() == pytest.approx(std_ms, rel=0.1, abs=1e-9)
    assert found.min() >= 0


@pytest.mark.parametrize(
    ("quirks", "why"),
    [
        ({"silence": 1.5}, "less than or equal to 1"),
        ({"reboot": {"after_requests": 3, "at_s": 2}}, "one of them"),
        ({"moving_map": {"by": 2}}, "or a reboot at which the map moves"),
        ({"silent": 0.1}, "Extra inputs"),
    ],
)
def test_quirks_that_mean_nothing_are_refused(quirks: Mapping[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Quirks.model_validate(quirks)


def test_points_that_a_device_does_not_have_are_all_named(bank: RegisterBank) -> None:
    with pytest.raises(ScenarioError) as error:
        device(bank, {"not_implemented": ["701.Wat"], "rounds": {"704.WMaxLimPc": 5}})
    assert [(p.pointer, "did you mean" in p.what) for p in error.value.problems] == [
        ("/not_implemented/0", True),
        ("/rounds/704.WMaxLimPc", True),
    ]


def test_a_register_that_a_device_does_not_have_cannot_be_stuck(bank: RegisterBank) -> None:
    with pytest.raises(ScenarioError, match="/stuck/addresses/1: pv_1 has no register 70000"):
        device(bank, {"stuck": {"addresses": [40000, 70000]}})


def test_a_point_without_a_value_for_it_cannot_be_not_implemented(bank: RegisterBank) -> None:
    plainly = replace(bank.maps[0]["701.W"], type="plain-int16", absent=NO_PATTERN)
    hardware = replace(of_bank(bank, 0, "pv_1"), points={"power": plainly})
    with pytest.raises(ScenarioError, match="no value of 'power' says that it is not implemented"):
        awkward(hardware, Quirks(not_implemented=("power",)))
