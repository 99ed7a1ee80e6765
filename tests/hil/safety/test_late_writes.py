"""A write that has not arrived when its run ends is not done later: a cable may be plugged in again."""

from __future__ import annotations

import asyncio
import os
import socket
import struct

from hil.modbus.endpoint import Timing
from hil.modbus.link import Link
from hil.serving.fleet import BankServer


def linger(descriptor: int) -> tuple[int, int]:
    """Return whether, and for how long, the kernel still sends when a connection is closed."""
    with socket.socket(fileno=os.dup(descriptor)) as seen:
        on, seconds = struct.unpack("ii", seen.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8))
        return on, seconds


def test_the_kernel_forgets_what_a_killed_run_has_not_sent(emulator: BankServer) -> None:
    """Seen on the socket: the loopback has no cable to pull; `tests/system/test_bench_kills.py` has one."""

    async def main() -> tuple[int, int]:
        link = Link("inv-1", emulator.addresses[0], Timing(deadline_s=5.0))
        await link.read(40000, 2)
        port = int(str(emulator.addresses[0].endpoint).rpartition(":")[2])
        try:
            return linger(next(descriptor for descriptor, peer in _connections() if peer == port))
        finally:
            await link.close()

    assert asyncio.run(main()) == (1, 0)


def _connections() -> list[tuple[int, int]]:
    """Return (descriptor, peer's port) of the TCP connections of this process that it has opened."""
    import psutil

    found = psutil.Process().net_connections("tcp")
    return [(each.fd, each.raddr.port) for each in found if each.raddr and each.fd != -1]
