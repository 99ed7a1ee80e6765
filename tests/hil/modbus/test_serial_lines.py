"""RTU frames over pseudo-terminals: what a serial line does without numbers on its answers."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from modbus_peers import Terminal, registers, rtu, terminal

from derloop.errors import Rejected, Unreachable
from hil.modbus.connection import Connection
from hil.modbus.endpoint import Address, Serial, Timing
from hil.modbus.failures import Unacknowledged
from hil.modbus.link import Link


def endpoint(far_end: Terminal, baud: int = 115200) -> Serial:
    return Serial(path=far_end.path, baud=baud)


def link(far_end: Terminal, unit: int = 1, **timing: float) -> Link:
    return Link("inv-1", Address(endpoint(far_end), unit), Timing.model_validate(timing))


def test_registers_are_read_and_written_over_a_serial_line() -> None:
    async def main() -> None:
        async with terminal() as line:
            inverter = link(line, 7, deadline_s=20.0)
            reading = asyncio.create_task(inverter.read(40000, 3))
            assert await line.asked() == (0, 7, 3, 40000, 3, b"")
            line.write(rtu(7, registers([1, 2, 65535])))
            assert (await reading).tolist() == [1, 2, 65535]
            writing = asyncio.create_task(inverter.write(12, [9], one=True))
            assert await line.asked() == (0, 7, 6, 12, 9, b"")
            line.write(rtu(7, bytes.fromhex("06 000c 0009")))
            await writing
            writing = asyncio.create_task(inverter.write(12, [9, 8]))
            assert await line.asked(13) == (0, 7, 16, 12, 2, bytes.fromhex("04 0009 0008"))
            line.write(rtu(7, bytes.fromhex("10 000c 0002")))
            await writing
            await inverter.close()

    asyncio.run(main())


def test_an_answer_in_single_bytes_is_one_answer() -> None:
    async def main() -> None:
        async with terminal() as line:
            inverter = link(line, deadline_s=20.0)
            reading = asyncio.create_task(inverter.read(0, 2))
            await line.asked()
            for byte in rtu(1, registers([3, 4])):
                line.write(bytes((byte,)))
                await asyncio.sleep(0.002)
            assert (await reading).tolist() == [3, 4]
            await inverter.close()

    asyncio.run(main())


def test_a_refusal_is_rejected() -> None:
    async def main() -> None:
        async with terminal() as line:
            inverter = link(line, deadline_s=20.0)
            reading = asyncio.create_task(inverter.read(0, 2))
            await line.asked()
            line.write(rtu(1, bytes((0x83, 2))))
            with pytest.raises(Rejected, match=r"exception 2 \(illegal address\)"):
                await reading
            await inverter.close()

    asyncio.run(main())


def test_a_late_answer_is_not_taken_for_the_next_one() -> None:
    async def main() -> None:
        async with terminal() as line:
            bus = Connection(endpoint(line), Timing(settle_s=0.3))
            hasty, patient = (
                Link("inv-1", Address(bus.endpoint), Timing(deadline_s=deadline_s, attempts=1), bus)
                for deadline_s in (0.1, 20.0)
            )
            with pytest.raises(Unreachable, match=r"no answer within 0\.\d+ s"):
                await hasty.read(0, 1)
            await line.asked()
            reading = asyncio.create_task(patient.read(100, 1))
            line.write(rtu(1, registers([666])))  # to the first request, and just what the second one wants
            assert await line.silence(0.2)
            assert (await line.asked()).address == 100
            line.write(rtu(1, registers([5])))
            assert (await reading).tolist() == [5]
            assert patient.traffic.discarded == 1
            await bus.close()

    asyncio.run(main())


def test_a_retry_waits_until_the_line_is_silent_and_discards_what_came() -> None:
    async def main() -> None:
        async with terminal() as line:
            inverter = link(line, deadline_s=2.0, attempts=2, settle_s=0.5)
            reading = asyncio.create_task(inverter.read(0, 1))
            await line.asked()
            await asyncio.sleep(0.85)  # each of the two attempts has 0.75 s
            line.write(rtu(1, registers([666])))
            await line.asked()
            line.write(rtu(1, registers([7])))
            assert (await reading).tolist() == [7]
            assert (inverter.traffic.retries, inverter.traffic.discarded, inverter.traffic.connects) == (1, 1, 1)
            await inverter.close()

    asyncio.run(main())


def test_a_line_that_is_never_silent_is_unreachable() -> None:
    async def main() -> None:
        async with terminal() as line:

            async def babble() -> None:
                while True:
                    line.write(b"\x55")
                    await asyncio.sleep(0.02)

            babbling = asyncio.create_task(babble())
            inverter = link(line, deadline_s=0.5, settle_s=0.1)
            with pytest.raises(
                Unreachable, match=r"no answer within 0\.\d+ s; then the line was not silent for 0\.1 s"
            ):
                await inverter.read(0, 1)
            babbling.cancel()
            await inverter.close()

    asyncio.run(main())


def test_a_frame_whose_check_fails_is_none_and_asked_for_again() -> None:
    async def main() -> None:
        async with terminal() as line:
            inverter = link(line, deadline_s=2.0, settle_s=0.05)
            reading = asyncio.create_task(inverter.read(0, 1))
            await line.asked()
            right = rtu(1, registers([300]))
            line.write(right[:3] + b"\xff" + right[4:])
            await line.asked()
            line.write(right)
            assert (await reading).tolist() == [300]
            assert inverter.traffic.retries == 1
            await inverter.close()

    asyncio.run(main())


def test_two_units_share_a_bus_one_request_at_a_time() -> None:
    async def main() -> None:
        async with terminal() as line:
            bus = Connection(endpoint(line), Timing(settle_s=0.05))
            one, two = (
                Link(f"inv-{unit}", Address(bus.endpoint, unit), Timing(deadline_s=20.0), bus) for unit in (1, 2)
            )
            reading = [asyncio.create_task(each.read(0, 1)) for each in (one, two)]
            assert (await line.asked()).unit == 1
            assert await line.silence(0.05)
            line.write(rtu(1, registers([11])))
            assert (await line.asked()).unit == 2
            line.write(rtu(2, registers([22])))
            assert [(await each).tolist() for each in reading] == [[11], [22]]
            await bus.close()

    asyncio.run(main())


def test_an_answer_of_another_unit_is_discarded() -> None:
    async def main() -> None:
        async with terminal() as line:
            inverter = link(line, deadline_s=20.0)
            reading = asyncio.create_task(inverter.read(0, 1))
            await line.asked()
            line.write(rtu(2, registers([666])) + rtu(1, registers([1])))
            assert (await reading).tolist() == [1]
            assert inverter.traffic.discarded == 1
            await inverter.close()

    asyncio.run(main())


def test_a_write_without_an_answer_may_have_been_done() -> None:
    async def main() -> None:
        async with terminal() as line:
            inverter = link(line, deadline_s=0.1, attempts=1)
            with pytest.raises(Unacknowledged, match=r"write 5\+1: no answer within 0\.\d+ s; it may have been done"):
                await inverter.write(5, [1])
            await inverter.close()

    asyncio.run(main())


def test_a_deadline_shorter_than_the_answer_takes_on_the_wire_is_named() -> None:
    async def main() -> None:
        async with terminal() as line:
            inverter = Link("inv-1", Address(endpoint(line, 9600)), Timing(deadline_s=0.1, attempts=1))
            with pytest.raises(Unreachable, match=r"a long answer takes 0\.27 s at 9600 baud"):
                await inverter.read(0, 125)
            await inverter.close()

    asyncio.run(main())


def test_a_port_that_is_pulled_out_is_unreachable() -> None:
    async def main() -> None:
        async with terminal() as line:
            inverter = link(line, deadline_s=20.0, attempts=1)
            reading = asyncio.create_task(inverter.read(0, 1))
            await line.asked()
            line.close()
            with pytest.raises(Unreachable, match=r"the serial port is (lost|gone)"):
                await reading
            assert not inverter.connected
            await inverter.close()

    asyncio.run(main())


def test_a_port_that_is_not_there_is_unreachable(tmp_path: Path) -> None:
    async def main() -> None:
        missing = Link("inv-1", Address(Serial(path=tmp_path / "ttyUSB0")), Timing(deadline_s=1.0, attempts=1))
        with pytest.raises(Unreachable, match="ttyUSB0 unit 1: read 0\\+1: No such file"):
            await missing.read(0, 1)

    asyncio.run(main())


def test_a_port_that_another_program_has_is_unreachable() -> None:
    async def main() -> None:
        async with terminal() as line:
            first, second = (link(line, deadline_s=0.2, attempts=1) for _ in range(2))
            with pytest.raises(Unreachable, match="no answer"):
                await first.read(0, 1)
            with pytest.raises(Unreachable, match="another program has the port"):
                await second.read(0, 1)
            await first.close()

    asyncio.run(main())


def test_without_pyserial_it_is_said_what_to_install() -> None:
    program = """
import asyncio, sys
sys.modules["serial"] = None
from pathlib import Path
from derloop.errors import PluginError
from hil.modbus.endpoint import Address, Serial
from hil.modbus.link import Link
try:
    asyncio.run(Link("x", Address(Serial(path=Path("/dev/null")))).read(0, 1))
except PluginError as missing:
    sys.exit(str(missing))
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.stderr.strip() == "serial lines need pyserial: pip install 'derloop[bench]'"
