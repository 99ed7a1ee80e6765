"""A run in little: one armed device of a bench file, told the same ten times a second.

`session_driver.py BENCH NAME P_W`

It ends when it is killed; until then its device is kept, as in any run.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import numpy as np

from hil.bench.file import read_bench
from hil.bench.session import Session
from hil.inverter.commands import Commands
from hil.safety.folder import Run

STEP_S = 0.1


async def drive(path: Path, name: str, p_w: float) -> None:
    """Command for ever."""
    bench = read_bench(path)
    session = Session(bench, [name], [name], Run(path.parent / "run", bench.path))
    await session.open()
    told = Commands(p_w=np.array([p_w]))
    await session.exchange(told, time.monotonic(), STEP_S)
    print("commanding", flush=True)
    while True:
        await asyncio.sleep(STEP_S)
        await session.exchange(told, time.monotonic(), STEP_S)


if __name__ == "__main__":
    asyncio.run(drive(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])))
