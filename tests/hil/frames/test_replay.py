"""A recorded device answers again as it did, and says where what is asked of it parts from the recording."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.frames.evidence import Evidence
from hil.frames.exchanges import Exchange, exchanges
from hil.frames.journal import Journal
from hil.frames.layout import Peer
from hil.frames.replay import ReplayResponder, responders
from hil.modbus import pdu
from hil.modbus.endpoint import Tcp
from hil.serving.server import Line, Server

if TYPE_CHECKING:
    from conftest import Converse, Session

S = 10**9
INVERTER = Peer("inv-1", 1, "tcp", "127.0.0.1", 1502)
READ, OTHER = pdu.request_bytes(pdu.read(100, 1)), pdu.request_bytes(pdu.read(200, 1))


def answer(value: int) -> bytes:
    return pdu.registers_answer(3, [value])


def write(value: int) -> bytes:
    return pdu.request_bytes(pdu.write(100, [value]))


WRITTEN = pdu.written_answer(pdu.write(100, [0]))


def recorded(*made: tuple[int | None, bytes, bytes | None]) -> ReplayResponder:
    """A recording of (instant in s, request, answer), a second apart."""
    return ReplayResponder(
        "inv-1",
        [
            Exchange(
                INVERTER, n * S, n * S, None if at is None else at * S, request, said, None if said is None else 0.1
            )
            for n, (at, request, said) in enumerate(made)
        ],
    )


def told(device: ReplayResponder) -> list[str]:
    device.end()
    assert device.diverged == len(device.divergences)
    return [str(each) for each in device.divergences]


def test_the_same_requests_get_the_same_answers_and_silences_in_their_order() -> None:
    device = recorded((None, READ, answer(1)), (0, READ, None), (0, READ, answer(2)), (5, READ, answer(3)))
    device.begin(None)
    assert device.respond(1, READ) == answer(1)
    assert device.latency_s == 0.1
    device.begin(0)
    assert [device.respond(1, READ), device.latency_s] == [None, 0.0]
    assert device.respond(1, READ) == answer(2)
    device.begin(5 * S)
    assert device.respond(1, READ) == answer(3)
    assert told(device) == []


def test_within_an_instant_the_order_of_different_requests_does_not_matter() -> None:
    device = recorded((0, READ, answer(1)), (0, OTHER, answer(2)))
    device.begin(0)
    assert [device.respond(1, OTHER), device.respond(1, READ)] == [answer(2), answer(1)]
    assert told(device) == []


def test_what_is_not_asked_at_one_instant_does_not_shift_the_answers_of_the_next() -> None:
    device = recorded(*((step, READ, answer(10 * step + k)) for step in range(3) for k in (0, 1)))
    device.begin(0)
    assert device.respond(1, READ) == answer(0)
    device.begin(S)
    assert [device.respond(1, READ), device.respond(1, READ)] == [answer(10), answer(11)]
    device.begin(2 * S)
    assert device.respond(1, READ) == answer(20)
    assert told(device) == ["inv-1 at 0 s: not asked: read 100+1", "inv-1 at 2 s: not asked: read 100+1"]


def test_what_is_asked_at_another_time_is_answered_as_nearest_to_it() -> None:
    device = recorded((0, READ, answer(1)), (1, OTHER, answer(5)), (2, READ, answer(2)), (9, READ, answer(3)))
    device.begin(0)
    assert [device.respond(1, READ), device.respond(1, READ)] == [answer(1), answer(2)]
    assert told(device) == ["inv-1 at 0 s: other time: read 100+1"]


def test_a_request_that_was_never_made_is_refused_and_named() -> None:
    device = recorded((0, READ, answer(1)))
    device.begin(0)
    assert device.respond(1, READ) == answer(1)
    assert device.respond(1, OTHER) == pdu.exception_answer(3, 2)
    assert device.respond(1, b"\x2b\x0e") == pdu.exception_answer(0x2B, 2)
    assert device.respond(1, b"") == pdu.exception_answer(0, 2)
    assert told(device)[:2] == [
        "inv-1 at 0 s: never asked: read 200+1",
        "inv-1 at 0 s: never asked: a request that is none: 2b 0e",
    ]


def test_a_write_of_other_values_is_compared_with_what_was_recorded() -> None:
    refused = pdu.exception_answer(16, 3)
    device = recorded((0, write(80), WRITTEN), (1, write(70), refused))
    device.begin(0)
    assert device.respond(1, write(79)) == WRITTEN
    device.begin(S)
    assert device.respond(1, write(60)) == refused
    assert told(device) == [
        "inv-1 at 0 s: other values: write 100+1 = 004f; recorded was write 100+1 = 0050",
        "inv-1 at 1 s: other values: write 100+1 = 003c; recorded was write 100+1 = 0046",
    ]


def test_without_instants_each_request_is_answered_in_the_order_in_which_it_was_made() -> None:
    device = recorded((None, READ, answer(1)), (None, OTHER, answer(5)), (3, READ, answer(2)))
    assert [device.respond(1, READ) for _ in range(3)] == [answer(1), answer(2), answer(2)]
    assert told(device) == [
        "inv-1 before the first step: other time: read 100+1",
        "inv-1 before the first step: not asked: read 200+1",
    ]


def test_an_empty_recording_refuses_everything() -> None:
    device = recorded()
    device.begin(0)
    assert device.respond(1, READ) == pdu.exception_answer(3, 2)
    assert told(device) == ["inv-1 at 0 s: never asked: read 100+1"]


def test_of_many_divergences_the_first_thousand_are_kept_and_all_are_counted() -> None:
    device = recorded((0, READ, answer(1)))
    for _ in range(1500):
        device.respond(1, OTHER)
    assert (device.diverged, len(device.divergences)) == (1500, 1000)


MADE = st.lists(
    st.tuples(st.integers(0, 4), st.sampled_from([READ, OTHER, write(1)]), st.integers(0, 9)), max_size=30
).map(lambda made: sorted(made, key=lambda each: each[0]))


@given(MADE)
def test_whatever_was_recorded_a_replay_of_the_same_requests_is_the_recording(
    made: list[tuple[int, bytes, int]],
) -> None:
    device = recorded(*((at, request, answer(value)) for at, request, value in made))
    now = None
    for at, request, value in made:
        if at != now:
            device.begin(at * S)
            now = at
        assert device.respond(1, request) == answer(value)
    assert told(device) == []


@given(MADE, st.lists(st.tuples(st.booleans(), st.binary(max_size=12)), max_size=30))
def test_no_request_is_too_strange_to_be_answered(
    made: list[tuple[int, bytes, int]], asked: list[tuple[bool, bytes]]
) -> None:
    device = recorded(*((at, request, answer(value)) for at, request, value in made))
    for number, (begins, request) in enumerate(asked):
        if begins:
            device.begin(number * S)
        said = device.respond(1, request)
        assert said is not None
        assert said[-1] == 2 or request in (each for _, each, _ in made)
    device.end()


def served(session: Session) -> tuple[dict[str, ReplayResponder], Server]:
    found = responders(exchanges(Evidence(session.folder).entries()))
    return found, Server([Line(Tcp(port=0), each) for each in found.values()])


def test_a_client_sees_in_a_replay_what_it_saw_of_the_devices(
    session: Session, converse_again: Converse, tmp_path: Path
) -> None:
    found, server = served(session)
    with server, Journal(tmp_path / "again.frames") as journal:
        polled = converse_again(dict(zip(found, server.endpoints, strict=True)), journal, 1.0)
    assert list(polled) == list(session.polled) == list(found)
    for name, rows in polled.items():
        assert np.array_equal(rows, session.polled[name])
    assert [told(each) for each in found.values()] == [[], []]
    again = exchanges(Evidence(journal.path).entries())
    first = exchanges(Evidence(session.folder).entries())
    assert [(e.request, e.answer) for e in again] == [(e.request, e.answer) for e in first]


def test_a_client_that_commands_otherwise_is_told_so(
    session: Session, converse_again: Converse, tmp_path: Path
) -> None:
    found, server = served(session)
    with server, Journal(tmp_path / "again.frames") as journal:
        converse_again({"pv_1": server.endpoints[0]}, journal, 0.5)
    said = told(found["pv_1"])
    assert len(said) == 3
    assert "other values: write 40311+1 = 0fa0; recorded was write 40311+1 = 1f40" in said[0]


def test_devices_are_answered_for_in_the_order_in_which_they_were_first_asked() -> None:
    other = Peer("inv-2", 1, "tcp", "127.0.0.1", 1503)
    made = [Exchange(peer, 0, n, None, READ, answer(n), 0.0) for n, peer in enumerate([other, INVERTER, other])]
    assert list(responders(made)) == ["inv-2", "inv-1"]


@pytest.mark.parametrize("instant", [None, 0, S])
def test_an_instant_that_was_not_recorded_has_nothing_that_belongs_to_it(instant: int | None) -> None:
    device = recorded((2, READ, answer(1)))
    device.begin(instant)
    assert device.respond(1, READ) == answer(1)
    assert len(told(device)) == 1


def test_instruments_are_not_stood_in_for() -> None:
    source = Peer.scpi("grid-sim", "TCPIP::10.1.2.9::5025::SOCKET")
    meter = Peer.at("meter", Tcp(port=1503), 1, is_instrument=True)
    said = [Exchange(peer, n, n, None, READ, answer(1), 0.1) for n, peer in enumerate((source, INVERTER, meter))]
    assert set(responders(said)) == {"inv-1"}
