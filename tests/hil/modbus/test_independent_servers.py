"""Links with the servers of pymodbus, on every transport."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from looped import run
from modbus_peers import joined_terminals
from pymodbus import FramerType
from pymodbus.server import ModbusSerialServer, ModbusTcpServer, ModbusTlsServer
from pymodbus.simulator import DataType, SimData, SimDevice

from derloop.errors import DeviceError
from hil.modbus.connection import Connection
from hil.modbus.endpoint import Address, Endpoint, RtuOverTcp, Serial, Tcp, Timing, Tls
from hil.modbus.link import Link

PATIENT = Timing(deadline_s=20.0, attempts=1, settle_s=0.1)


def devices() -> list[SimDevice]:
    """Units 1 and 2 with 200 registers from 40000: 0, 1, 2 ... and 1000, 1001 ..."""
    values = ([base + index for index in range(200)] for base in (0, 1000))
    return [
        SimDevice(unit, [SimData(40000, values=each, datatype=DataType.REGISTERS)])
        for unit, each in enumerate(values, 1)
    ]


async def reads_writes_and_is_refused(endpoint: Endpoint) -> None:
    """Use both units over one connection."""
    connection = Connection(endpoint, PATIENT)
    one, two = (Link(f"inv-{unit}", Address(endpoint, unit), PATIENT, connection) for unit in (1, 2))
    both = await asyncio.gather(one.read(40000, 125), two.read(40000, 125))
    assert [each.tolist() for each in both] == [[*range(125)], [*range(1000, 1125)]]
    await two.write(40010, [1, 2, 65535])
    await two.write(40020, [9], one=True)
    assert (await two.read(40010, 11)).tolist() == [1, 2, 65535, *range(1013, 1020), 9]
    assert (await one.read(40010, 1)).tolist() == [10]
    with pytest.raises(DeviceError, match="exception"):
        await one.read(100, 1)
    assert (await one.read(40000, 1)).tolist() == [0]
    await connection.close()


def use(server: Callable[[], Any], endpoint: Callable[[int], Endpoint]) -> None:
    """Use a server that listens on a free port."""

    async def main() -> None:
        served = server()
        await served.serve_forever(background=True)
        try:
            await reads_writes_and_is_refused(endpoint(served.transport.sockets[0].getsockname()[1]))
        finally:
            await served.shutdown()
            await asyncio.sleep(0.01)

    run(main())


def test_modbus_tcp() -> None:
    use(lambda: ModbusTcpServer(devices(), address=("127.0.0.1", 0)), lambda port: Tcp(port=port))


def test_rtu_over_tcp() -> None:
    use(
        lambda: ModbusTcpServer(devices(), framer=FramerType.RTU, address=("127.0.0.1", 0)),
        lambda port: RtuOverTcp(port=port),
    )


def test_modbus_tcp_security(tmp_path: Path) -> None:
    authority, server_side = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    authority.issue_cert("127.0.0.1").configure_cert(server_side)
    authority.configure_trust(server_side)
    server_side.verify_mode = ssl.CERT_REQUIRED
    ours = authority.issue_cert("client@lab.example")
    ours.private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")
    use(
        lambda: ModbusTlsServer(devices(), sslctx=server_side, address=("127.0.0.1", 0)),
        lambda port: Tls(
            port=port,
            certificate=tmp_path / "client.pem",
            key=tmp_path / "client.pem",
            authority=tmp_path / "authority.pem",
        ),
    )


def test_a_serial_line() -> None:
    async def main() -> None:
        with joined_terminals(asyncio.get_running_loop()) as (ours, theirs):
            server = ModbusSerialServer(devices(), port=str(theirs), baudrate=115200)
            await server.serve_forever(background=True)
            try:
                await reads_writes_and_is_refused(Serial(path=ours, baud=115200))
            finally:
                await server.shutdown()

    run(main())
