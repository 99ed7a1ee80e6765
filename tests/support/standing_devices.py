"""Emulated storage inverters on the clock of the wall, in a process of their own: `standing_devices.py HOST PORT...`.

They measure what they are set to, and their charge stays at 50 %.
"""

from __future__ import annotations

import sys
import time

import numpy as np
from emulated import described

from hil.emulator.bank import RegisterBank
from hil.emulator.nameplate import Ratings
from hil.inverter.measurements import Measurements
from hil.modbus.endpoint import Tcp
from hil.serving.responder import BankResponder, Units
from hil.serving.server import Line, Server

TICK_S = 0.02


def main(host: str, *ports: str) -> None:
    """Serve until killed, a device for each port."""
    storage = {"p_max_charge_w": 10e3, "energy_wh": 40e3}
    ratings = [Ratings(f"inv-{port}", 10e3, 10e3, 4840.0, 4840.0, 2400.0, **storage) for port in ports]
    bank = RegisterBank([described(each) for each in ratings])
    lines = [Line(Tcp(host=host, port=int(p)), Units({1: BankResponder(bank, i)})) for i, p in enumerate(ports)]
    with Server(lines):
        print("ready", flush=True)
        before_s = time.monotonic()
        while True:
            time.sleep(TICK_S)
            now_s = time.monotonic()
            p_w = np.nan_to_num(bank.settings().p_w)
            bank.set_measurements(Measurements.of(p_w, 0.0 * p_w, 0.0 * p_w + 2400.0, soc_pct=50.0))
            bank.advance(now_s - before_s)
            before_s = now_s


if __name__ == "__main__":
    main(*sys.argv[1:])
