"""A run in little: devices that are kept and commanded ten times a second.

`bench_driver.py FOLDER LEASE_S RESTORE_S PORT@HOST...`

It ends as a run does: 3 and the reasons for a failure, 130 for SIGTERM, each after it has let go of its devices.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from derloop.errors import DeviceError
from hil.inverter.commands import Order
from hil.inverter.device import Device
from hil.inverter.lease import reversion
from hil.modbus.endpoint import Address, Tcp, Timing
from hil.modbus.link import Link
from hil.safety.folder import Run, StateFolder
from hil.safety.keeper import Keeper
from hil.safety.keepers import Keepers
from hil.safety.rules import Reversion, SafetyRules

STEP_S = 0.1
TIMING = Timing(deadline_s=4.0, attempts=1)


async def drive(folder: Path, lease_s: int, restore_s: float, places: list[str]) -> int:
    """Command until something fails or SIGTERM comes; return the exit status."""
    devices = [_device(place, lease_s) for place in places]
    await asyncio.gather(*(device.discover() for device in devices))
    rules, run = SafetyRules(lease=Reversion(seconds=lease_s), restore_s=restore_s), Run(folder, folder / "lab.json")
    names = [device.name for device in devices]
    keepers = Keepers([Keeper(device, rules, names, StateFolder.of_user(), run) for device in devices])
    status = 0
    try:
        await keepers.take()
        await _command(devices)
    except DeviceError as failure:
        print(f"FAILED {failure}", flush=True)
        status = 3
    except asyncio.CancelledError:
        status = 130
    return await _let_go(keepers, devices, status)


async def _let_go(keepers: Keepers, devices: list[Device], status: int) -> int:
    try:
        await keepers.let_go()
    except DeviceError as failure:
        print(f"NOT RESTORED {failure}", flush=True)
        status = 3
    for device in devices:
        with suppress(DeviceError, OSError):
            await device.link.close()
    return status


async def _command(devices: list[Device]) -> None:
    for step in range(10**9):
        order = Order(limit_fraction=0.5 + 0.01 * (step % 40), p_w=1000.0 + 10.0 * (step % 100), q_var=-50.0)
        await asyncio.gather(*(device.command(order, time.monotonic()) for device in devices))
        if step == 0:
            print("commanding", flush=True)
        await asyncio.sleep(STEP_S)


def _device(place: str, lease_s: int) -> Device:
    port, host = place.split("@")
    return Device(Link(f"inv-{port}", Address(Tcp(host=host, port=int(port))), TIMING), reversion(lease_s))


def main(folder: str, lease_s: str, restore_s: str, *places: str) -> int:
    """Drive in a loop that SIGTERM cancels."""

    async def cancellable() -> int:
        task = asyncio.ensure_future(drive(Path(folder), int(lease_s), float(restore_s), list(places)))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await task

    return asyncio.run(cancellable())


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
