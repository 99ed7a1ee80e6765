"""What an exchange over Modbus TCP costs, beside a raw socket and pymodbus, and a cycle over many devices.

    python benchmarks/modbus.py [--devices 1 10 100 300] [--cycles 60] [--reads 2000]

All servers are in a process of their own, on loopback, a port for each device. Best and median are wall time, `cpu` is
the time of the client's processor, `server` that of the servers'; they follow the load of the machine: compare rows of
one run.

- **one read**: 100 holding registers over one connection, one after the other, from a server that does nothing else.
- **one cycle**: each device is written 10 registers, these are read back, and 100 registers polled; all devices at the
  same time, one exchange after the other on each connection. `bare` is an asyncio.Protocol that checks nothing.
- **one cycle, SunSpec**: `DeviceGroup.exchange` with emulated inverters: another limit of active power than before is
  written to each (2 registers), what it must hold then is read back (6) and compared, and what it measures is polled
  (19) and decoded. On are: checks of transaction, unit, function and length, a deadline for each exchange, rounding
  refused, reading back, witnesses of a map that moved; in the servers access, ranges, symbols, timers. Off are, as for
  fleets in lock-step: a lease (its time has been written as 0), a guard (arming, limits, budget, record), a journal.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import platform
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

HERE = Path(__file__).parent
READ, WRITTEN = 100, 10
"""Registers of a poll and of a command."""
LIMIT_MS = 100.0
"""What a cycle over 300 devices may take on an idle machine."""


class Cost(NamedTuple):
    """Of one read or cycle, seconds."""

    best_s: float
    median_s: float
    cpu_s: float
    server_s: float = math.nan
    """Of the servers' processor."""


Cycle = Callable[[], Awaitable[None]]
Timed = Callable[[Cycle], Awaitable[Cost]]


# The servers' process


class _Registers(asyncio.Protocol):
    """Answers reads with zeros and writes with yes: the least that a server can do."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        while data:
            transaction, _, length, unit, function, _, count = struct.unpack_from(">HHHBBHH", data)
            body = bytes((function, 2 * count)) + bytes(2 * count) if function == 3 else data[7:12]
            self._transport.write(struct.pack(">HHHB", transaction, 0, len(body) + 1, unit) + body)
            data = data[6 + length :]


async def serve_registers(n: int) -> None:
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(_Registers, "127.0.0.1", 0, backlog=512) for _ in range(n)]
    print(json.dumps([server.sockets[0].getsockname()[1] for server in servers]), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


def serve_inverters(n: int) -> None:
    sys.path.append(str(HERE.parent / "tests" / "support"))
    from emulated import described

    from hil.emulator.bank import RegisterBank
    from hil.emulator.nameplate import Ratings
    from hil.serving.fleet import BankServer

    bank = RegisterBank([described(Ratings(f"pv_{k}", 10e3, 11e3, 4840.0, 4840.0, 240.0)) for k in range(n)])
    with BankServer(bank) as server:
        print(json.dumps([address.endpoint.port for address in server.addresses]), flush=True)
        sys.stdin.read()


@contextmanager
def servers(kind: str, n: int) -> Iterator[tuple[list[int], int]]:
    """Yield the ports of n servers in another process, and its id."""
    command = [sys.executable, __file__, "--serve", kind, "--devices", str(n)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield json.loads(process.stdout.readline()), process.pid
        process.communicate("")


# Timing


def processor_s(pid: int | None) -> float:
    """Return the processor's time of all threads of a process; NaN where the system does not tell."""
    told = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(path.read_text().split()[0]) for path in told) / 1e9 or math.nan


async def timed(work: Cycle, count: int, server: int | None = None) -> Cost:
    """Run `work` so often, after a tenth of that for warming up."""
    for _ in range(max(1, count // 10)):
        await work()
    walls, cpu_s, server_s = [], time.process_time(), processor_s(server)
    for _ in range(count):
        began = time.perf_counter()
        await work()
        walls.append(time.perf_counter() - began)
    spent_s = time.process_time() - cpu_s, processor_s(server) - server_s
    return Cost(min(walls), median(walls), *(each / count for each in spent_s))


def at_once(work: Callable[[], object]) -> Cycle:
    async def run() -> None:
        work()

    return run


# One read over one connection


async def raw_socket(port: int, reads: int) -> Cost:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        request = struct.pack(">HHHBBHH", 1, 0, 6, 1, 3, 0, READ)

        def read() -> None:
            connection.sendall(request)
            came = b""
            while len(came) < 9 + 2 * READ:
                came += connection.recv(4096)

        return await timed(at_once(read), reads)


async def pymodbus_sync(port: int, reads: int) -> Cost:
    from pymodbus.client import ModbusTcpClient

    client = ModbusTcpClient("127.0.0.1", port=port)
    client.connect()
    cost = await timed(at_once(lambda: client.read_holding_registers(0, count=READ)), reads)
    client.close()
    return cost


async def pymodbus_async(port: int, reads: int) -> Cost:
    client = await _pymodbus_client(port)

    async def read() -> None:
        await client.read_holding_registers(0, count=READ)

    cost = await timed(read, reads)
    client.close()
    return cost


async def derloop_link(port: int, reads: int) -> Cost:
    link = _link(port)

    async def read() -> None:
        await link.read(0, READ)

    cost = await timed(read, reads)
    await link.close()
    return cost


async def derloop_blocking(port: int, reads: int) -> Cost:
    from hil.modbus.blocking import ModbusConnection
    from hil.modbus.endpoint import Address, Tcp

    with ModbusConnection("device", Address(Tcp(port=port))) as connection:
        return await timed(at_once(lambda: connection.read(0, READ)), reads)


async def _pymodbus_client(port: int) -> Any:
    from pymodbus.client import AsyncModbusTcpClient

    client = AsyncModbusTcpClient("127.0.0.1", port=port)
    await client.connect()
    return client


def _link(port: int) -> Any:
    from hil.modbus.endpoint import Address, Tcp, Timing
    from hil.modbus.link import Link

    return Link("device", Address(Tcp(port=port)), Timing(deadline_s=60.0))


# One cycle over many connections


class _Bare(asyncio.Protocol):
    """One request at a time, and whatever comes is the answer, once it has the length."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._loop = asyncio.get_running_loop()
        self._held, self._length = b"", 0

    def ask(self, request: bytes, length: int) -> asyncio.Future[bytes]:
        self._length, self._answer = length, self._loop.create_future()
        self._transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._held += data
        if len(self._held) >= self._length:
            held, self._held = self._held, b""
            self._answer.set_result(held)

    def close(self) -> None:
        self._transport.close()


async def bare_cycle(ports: Sequence[int], timing: Timed) -> Cost:
    loop = asyncio.get_running_loop()
    all_ = [(await loop.create_connection(_Bare, "127.0.0.1", port))[1] for port in ports]
    write = struct.pack(f">HHHBBHHB{WRITTEN}H", 1, 0, 7 + 2 * WRITTEN, 1, 16, 0, WRITTEN, 2 * WRITTEN, *range(WRITTEN))

    async def each(client: _Bare) -> None:
        await client.ask(write, 12)
        await client.ask(struct.pack(">HHHBBHH", 2, 0, 6, 1, 3, 0, WRITTEN), 9 + 2 * WRITTEN)
        await client.ask(struct.pack(">HHHBBHH", 3, 0, 6, 1, 3, 0, READ), 9 + 2 * READ)

    return await _cycles(all_, each, timing)


async def pymodbus_cycle(ports: Sequence[int], timing: Timed) -> Cost:
    clients = [await _pymodbus_client(port) for port in ports]

    async def each(client: Any) -> None:
        await client.write_registers(0, list(range(WRITTEN)))
        await client.read_holding_registers(0, count=WRITTEN)
        await client.read_holding_registers(0, count=READ)

    return await _cycles(clients, each, timing)


async def derloop_cycle(ports: Sequence[int], timing: Timed) -> Cost:
    words = list(range(WRITTEN))

    async def each(link: Any) -> None:
        await link.write(0, words)
        await link.read(0, WRITTEN)
        await link.read(0, READ)

    return await _cycles([_link(port) for port in ports], each, timing)


async def _cycles(clients: Sequence[Any], each: Callable[[Any], Coroutine[Any, Any, None]], timing: Timed) -> Cost:
    async def cycle() -> None:
        await asyncio.gather(*(each(client) for client in clients))

    cost = await timing(cycle)
    for client in clients:
        closing = client.close()
        if closing is not None:
            await closing
    return cost


async def sunspec_cycle(ports: Sequence[int], timing: Timed) -> Cost:
    import numpy as np

    from hil.inverter.commands import Commands
    from hil.inverter.group import DeviceGroup
    from hil.modbus.endpoint import Address, Tcp

    addresses = {f"pv_{k}": Address(Tcp(port=port)) for k, port in enumerate(ports)}
    with DeviceGroup(addresses, deadline_s=60.0) as group:
        asked = iter(range(10**9))

        def exchange() -> None:
            k = next(asked)
            group.exchange(Commands(limit_fraction=np.full(len(ports), 0.5 + k % 50 / 100)), now_s=float(k))

        return await timing(at_once(exchange))


READS = {
    "raw socket": raw_socket,
    "pymodbus, sync": pymodbus_sync,
    "pymodbus, async": pymodbus_async,
    "derloop, Link": derloop_link,
    "derloop, blocking": derloop_blocking,
}
CYCLES = {"bare": bare_cycle, "pymodbus, async": pymodbus_cycle, "derloop, Link": derloop_cycle}


def one_read(reads: int) -> dict[str, Cost]:
    print(f"\none read of {READ} registers, us" + " " * 15 + "best   median      cpu")
    costs = {}
    with servers("registers", 1) as ([port], _):
        for name, read in READS.items():
            costs[name] = asyncio.run(read(port, reads))
            print(f"  {name:<38}" + "".join(f"{1e6 * each:9.0f}" for each in costs[name][:3]))
    return costs


def one_cycle(devices: Sequence[int], cycles: int) -> dict[str, dict[int, Cost]]:
    print("\none cycle, ms: best (median) cpu/server" + "".join(f"{n:>28}" for n in devices))
    costs: dict[str, dict[int, Cost]] = {}
    for kind, rows in (("registers", CYCLES), ("inverters", {"derloop, DeviceGroup, SunSpec": sunspec_cycle})):
        with servers(kind, max(devices)) as (ports, pid):
            for name, cycle in rows.items():
                each = {n: partial(timed, count=max(cycles, cycles * 10 // n), server=pid) for n in devices}
                costs[name] = _row(name, {n: asyncio.run(cycle(ports[:n], timing)) for n, timing in each.items()})
    return costs


def _row(name: str, costs: dict[int, Cost]) -> dict[int, Cost]:
    cells = (
        f"{1e3 * c.best_s:.2f} ({1e3 * c.median_s:.2f}) {1e3 * c.cpu_s:.2f}/{1e3 * c.server_s:.2f}"
        for c in costs.values()
    )
    print(f"  {name:<36}" + "".join(f"{cell:>28}" for cell in cells))
    return costs


def save(given: argparse.Namespace, reads: dict[str, Cost], cycles: dict[str, dict[int, Cost]]) -> Path:
    """Keep the figures, with the machine's load before and after, under results/."""
    folder = HERE / "results"
    folder.mkdir(exist_ok=True)
    path = folder / f"modbus-{datetime.now():%Y-%m-%d-%H%M%S}.json"
    said = {
        "machine": {"system": platform.platform(), "cpus": os.cpu_count(), "load": os.getloadavg()},
        "versions": {"python": platform.python_version(), "pymodbus": version("pymodbus")},
        "given": {"reads": given.reads, "cycles": given.cycles},
        "one_read_s": {name: cost._asdict() for name, cost in reads.items()},
        "one_cycle_s": {name: {n: cost._asdict() for n, cost in row.items()} for name, row in cycles.items()},
    }
    path.write_text(json.dumps(said, indent=1), encoding="utf-8")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 10, 100, 300])
    parser.add_argument("--cycles", type=int, default=60)
    parser.add_argument("--reads", type=int, default=2000)
    parser.add_argument("--serve", choices=["registers", "inverters"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve == "registers":
        asyncio.run(serve_registers(given.devices[0]))
    elif given.serve == "inverters":
        serve_inverters(given.devices[0])
    else:
        print(f"load of the machine: {', '.join(f'{each:.1f}' for each in os.getloadavg())}")
        print(f"kept in {save(given, one_read(given.reads), one_cycle(given.devices, given.cycles))}")


if __name__ == "__main__":
    main()
