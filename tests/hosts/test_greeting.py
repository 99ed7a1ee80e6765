"""Who does not know the token of a run comes no further, and what was said once is of no use a second time."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from sockets import tcp_pair

from derloop.errors import DerloopError
from derloop.hosts import door as doors
from derloop.hosts import greeting, joining
from derloop.hosts.channel import Channel, Malformed
from derloop.hosts.door import Door
from derloop.hosts.greeting import MAGIC, approach, keep_token, make_token, read_token
from derloop.hosts.joining import Invitation

TOKEN = "t" * 32


@pytest.fixture
def door() -> Iterator[Door]:
    door = Door("127.0.0.1", 0, TOKEN)
    yield door
    door.close()


def connected(door: Door) -> socket.socket:
    return socket.create_connection(("127.0.0.1", door.port), 10)


def let_in(door: Door) -> Channel:
    while not (found := door.arrived()):
        assert not door.refused, door.refused
    return found[0]


def refused(door: Door) -> str:
    while not door.refused:
        assert not door.arrived()
    return door.refused[0]


def test_a_host_that_knows_the_token_is_let_in_by_its_name(door: Door) -> None:
    host = approach(connected(door), TOKEN, "fleets")
    run = let_in(door)
    assert run.peer == "fleets"
    host.send("hello", facts={"python": "3.11"})
    while not (heard := run.heard()):
        assert run.lost is None
    assert heard[0]["facts"] == {"python": "3.11"}
    for channel in (host, run):
        channel.close()


def test_a_host_with_another_token_is_refused_and_learns_nothing_but_that(door: Door) -> None:
    with connected(door) as sock, pytest.raises(Malformed, match="the run does not know the token"):
        approach(sock, "x" * 32, "fleets")
    said = "it hung up on this run's proof: it has another token, or none"
    assert refused(door) == f"a connection from 127.0.0.1 was not let in: {said}"


@pytest.mark.parametrize("said", [bytes(88), b"GET / HTTP/1.1\r\n\r\n" + bytes(100), MAGIC + bytes(10)])
def test_whoever_does_not_greet_is_refused(door: Door, said: bytes) -> None:
    with connected(door) as sock:
        sock.sendall(said)
        with suppress(OSError):  # it may have been shown the door already
            sock.shutdown(socket.SHUT_WR)
        assert "was not let in" in refused(door)


def test_a_greeting_that_was_recorded_opens_no_second_door(door: Door) -> None:
    sent = recorded_greeting(door)
    with connected(door) as sock:
        sock.sendall(sent)
        assert refused(door).endswith("it does not know the token")


def recorded_greeting(door: Door) -> bytes:
    """Let a host in through somebody who listens; return what the host has sent of its own until then."""
    near, far = tcp_pair()
    sent = bytearray()
    with connected(door) as there, near, far:
        host = Thread(target=lambda: approach(near, TOKEN, "fleets").close())
        host.start()
        for count, answer in ((88, 64), (32, 0)):
            sent += (part := far.recv(count, socket.MSG_WAITALL))
            there.sendall(part)
            if answer:
                far.sendall(there.recv(answer, socket.MSG_WAITALL))
        let_in(door).close()
        host.join()
    return bytes(sent)


def test_silent_connections_keep_nobody_out(door: Door) -> None:
    silent = [connected(door) for _ in range(8)]
    host = approach(connected(door), TOKEN, "fleets")
    let_in(door).close()
    host.close()
    for sock in silent:
        sock.close()


def test_a_greeting_that_trickles_is_ended_in_time_and_its_place_is_free_again(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(greeting, "GREET_S", 0.3)
    with connected(door) as sock, suppress(OSError):
        until = time.monotonic() + 10
        while not door.refused and time.monotonic() < until:
            sock.sendall(b"d")
            time.sleep(0.05)
    assert refused(door) == "a connection from 127.0.0.1 was not let in: it has not greeted within 0.3 s"


def test_a_host_that_finds_too_many_at_the_door_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(greeting, "GREET_S", 0.5)
    monkeypatch.setattr(doors, "GREETING_AT_ONCE", 1)
    door = Door("127.0.0.1", 0, TOKEN)
    with connected(door):
        time.sleep(0.1)
        host, _ = joining._connected(Invitation("127.0.0.1", door.port, "fleets", TOKEN, wait_s=30))
    while not (found := door.arrived()):
        time.sleep(0.01)
    assert [channel.peer for channel in found] == ["fleets"]
    for channel in (host, *found):
        channel.close()
    door.close()


def test_a_door_that_could_not_take_a_connection_takes_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    class Few:
        """A listening socket while there are no more open files, once."""

        def __init__(self, listener: socket.socket) -> None:
            self._listener, self._is_first = listener, True

        def accept(self) -> Any:
            if self._is_first:
                self._is_first = False
                raise OSError(errno.EMFILE, "Too many open files")
            return self._listener.accept()

        def __getattr__(self, name: str) -> Any:
            return getattr(self._listener, name)

    monkeypatch.setattr(doors.socket, "create_server", lambda address, made=socket.create_server: Few(made(address)))
    door = Door("127.0.0.1", 0, TOKEN)
    host = approach(connected(door), TOKEN, "fleets")
    let_in(door).close()
    host.close()
    door.close()


def test_a_token_that_others_may_read_is_refused(tmp_path: Path) -> None:
    keep_token(path := tmp_path / "run.token", make_token())
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(read_token(path)) == 64
    path.chmod(0o640)
    with pytest.raises(DerloopError, match="may be read by others, and holds a token: chmod 600"):
        read_token(path)


def test_a_file_that_holds_no_token_and_a_folder_are_named(tmp_path: Path) -> None:
    keep_token(path := tmp_path / "run.token", "short")
    with pytest.raises(DerloopError, match=r"run\.token holds no token: a token has 32 letters"):
        read_token(path)
    with pytest.raises(DerloopError, match=f"^{tmp_path} is a folder, and no file that holds a token$"):
        read_token(tmp_path)


@pytest.mark.parametrize("token", ["", "short", "with spaces " * 5, "ö" * 40])
def test_a_token_that_can_be_guessed_is_refused(token: str) -> None:
    with pytest.raises(DerloopError, match="a token has 32 letters"):
        read_token(None, token)
    with pytest.raises(DerloopError, match="a token is needed: --token-file FILE, or the variable DERLOOP_TOKEN"):
        read_token(None, None)
