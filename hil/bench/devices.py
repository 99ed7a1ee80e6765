"""Devices of a bench, reached: those behind one endpoint share its connection."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager

from derloop.errors import Interlocked, Rejected
from hil.bench.file import Bench, DeviceEntry
from hil.frames.layout import Peer
from hil.inverter.device import Device
from hil.inverter.guard import Change
from hil.inverter.lease import NO_LEASE, Lease, heartbeat, reversion
from hil.inverter.mapped import language
from hil.modbus.connection import Connection
from hil.modbus.endpoint import Serial
from hil.modbus.link import Link
from hil.modbus.tap import Tap
from hil.safety.rules import Heartbeat, LeaseRule, NoLease, Reversion

VOLT_VAR = ("705.Ena", "126.ModEna")
"""What enables volt-var. On in the safe state, the curve stays when nobody commands the device any more."""
TapOf = Callable[[Sequence[str]], Tap | None]


def no_tap(names: Sequence[str]) -> None:
    """Nobody listens in to the connection of these devices."""


def peers_of(bench: Bench, names: Sequence[str]) -> list[Peer]:
    """Return devices as a journal of frames knows them."""
    found = ((name, bench.address(name)) for name in names)
    return [Peer.at(name, address.endpoint, address.unit) for name, address in found]


class Links:
    """The links to devices of a bench, for use inside an event loop. Nothing is opened before it is needed.

    A serial port can be opened once, and many devices take one connection only: devices with the same endpoint share
    one, at the pace of the slowest, unless the bench file gives a device its own.
    """

    def __init__(self, bench: Bench, names: Collection[str], tap: TapOf = no_tap) -> None:
        """tap: gives what hears a connection, from the names of the devices behind it."""
        self._bench = bench
        behind: dict[str, list[str]] = {}
        for name in names:
            behind.setdefault(_connection_key(bench, name), []).append(name)
        self._connections = {key: _connection(bench, some, tap(some)) for key, some in behind.items()}

    def to(self, name: str) -> Link:
        """Return a link to one device."""
        connection = self._connections[_connection_key(self._bench, name)]
        return Link(name, self._bench.address(name), self._bench.device(name).timing, connection)

    async def close(self) -> None:
        """Close every connection; used again, it is opened again."""
        for connection in self._connections.values():
            await connection.close()


def _connection_key(bench: Bench, name: str) -> str:
    """Return what devices have in common that share a connection: all of the endpoint, or the serial port itself."""
    endpoint = bench.address(name).endpoint
    if bench.device(name).own_connection:
        return name
    return f"{endpoint.path.resolve()}" if isinstance(endpoint, Serial) else endpoint.model_dump_json()


def _connection(bench: Bench, names: Sequence[str], tap: Tap | None) -> Connection:
    connection = Connection(bench.address(names[0]).endpoint, bench.device(names[0]).timing, tap)
    for name in names[1:]:
        connection.slow_down(bench.device(name).timing)
    return connection


@asynccontextmanager
async def reached(bench: Bench, names: Collection[str], tap: TapOf = no_tap) -> AsyncIterator[dict[str, Device]]:
    """Give devices by name, and close what was opened for them. Nothing is sent before a device is asked something.

    tap: as of `Links`.
    """
    links = Links(bench, names, tap)
    try:
        yield {name: device_to(bench, name, links) for name in names}
    finally:
        await links.close()


class ReadOnly:
    """Permits no write: for a device that has no keeper yet, or gets none."""

    def __init__(self, device: str) -> None:
        self._device = device

    def permit(self, changes: Sequence[Change], now_s: float) -> None:
        """Raise Interlocked."""
        raise Interlocked(self._device, f"is only read; {len(changes)} points were not written at {now_s:g} s")

    def ahead(self, changes: Sequence[Change]) -> None:
        """Nothing is to be written."""

    def written(self, changes: Sequence[Change], now_s: float) -> None:
        """Nothing ever is."""

    def doubted(self, changes: Sequence[Change], now_s: float) -> None:
        """Nothing was sent."""


def device_to(bench: Bench, name: str, links: Links) -> Device:
    """Return a device with the lease, and the state without one, that the bench file gives it. It is only read."""
    rules = bench.device(name).safety
    lease, safe = _lease(rules.lease), rules.safe_state.points
    stays = any(safe.get(enable) for enable in VOLT_VAR)
    curve_lease = NO_LEASE if stays else lease
    speaks = language(bench.device(name).speaks, bench.path.parent)
    guard = ReadOnly(name)
    return Device(links.to(name), lease, language=speaks, safe=safe, guard=guard, curve_lease=curve_lease)


def _lease(rule: LeaseRule) -> Lease:
    match rule:
        case Reversion():
            return reversion(rule.seconds)
        case Heartbeat():
            return heartbeat(rule.seconds)
        case NoLease():
            return NO_LEASE


def refuse_stranger(entry: DeviceEntry, device: Device) -> None:
    """Raise Rejected for a device that has been discovered, and is another one than the bench file expects."""
    if differs := entry.identity.differences(device.identity):
        raise Rejected(device.name, f"is another device than the bench file expects: {'; '.join(differs)}")
