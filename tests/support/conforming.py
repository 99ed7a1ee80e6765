"""A served device whose behaviour is checked from outside, and the values that its points are written with."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from sunspec2.modbus.client import SunSpecModbusClientDeviceTCP

from federates.der.inverter import Inverters, Smart
from hil.emulator.bank import RegisterBank
from hil.emulator.nameplate import Ratings
from hil.emulator.profile import Profile
from hil.fleet.steering import Steering, equipped_bank, settings_of
from hil.modbus.endpoint import Address
from hil.serving.fleet import BankServer

BATTERY = Ratings("bat_1", 5e3, 5.5e3, 2420.0, 2000.0, 240.0, 3, p_max_charge_w=4e3, energy_wh=20e3)
INVERTER = Ratings("pv_1", 10e3, 11e3, 4840.0, 4840.0, 240.0)
SMART = {"enter_service": {}, "frequency_droop": {"category": "category-ii"}}


@dataclass
class Served:
    """A device on a real socket, with pysunspec2's own client connected to it."""

    bank: RegisterBank
    address: Address
    client: Any

    def item(self, name: str) -> Any:
        """Return pysunspec2's point, group or model: "705.Crv.1.Pt.0.V", "705.Crv.1", "705"."""
        model, *path = name.split(".")
        found = self.client.models[int(model)][0]
        for part in path:
            found = found[int(part)] if part.isdigit() else getattr(found, part)
        return found

    def write(self, **values: float) -> None:
        """Write points one after the other: m704_WMaxLimPct=50 (`_` stands for `.` after the model, `__` elsewhere)."""
        for key, value in values.items():
            self.put(key.removeprefix("m").replace("__", ".").replace("_", ".", 1), value)

    def put(self, name: str, value: float) -> None:
        point = self.item(name)
        point.cvalue = value
        self._reached(name, "write").write()

    def read(self, name: str) -> Any:
        self._reached(name, "read").read()
        return self.item(name).cvalue

    def _reached(self, name: str, what: str) -> Any:
        """Return the point, or its model where pysunspec2 can do this to whole models only: in nested groups."""
        point = self.item(name)
        return point if hasattr(point, what) else self.item(name.partition(".")[0])

    def names(self) -> Iterator[str]:
        """Yield the points that the device implements."""
        image = self.bank.image(0)
        yield from (name for name in self.bank.maps[0].points if self.bank.maps[0].value(name, image) is not None)


@contextmanager
def served(ratings: Ratings, **profile: Any) -> Iterator[Served]:
    """Serve one device that is steered by the functions of an inverter, and scan it."""
    inverters = Inverters(Smart.model_validate(SMART), np.array([ratings.s_max_va / 1000]))
    settings = settings_of(inverters)
    bank = equipped_bank([ratings], settings, [Profile.model_validate(profile)])
    Steering(inverters, bank, settings, takes_setpoint=ratings.p_max_charge_w is not None)
    with BankServer(bank) as server, connected(server.addresses[0]) as client:
        yield Served(bank, server.addresses[0], client)


@contextmanager
def connected(address: Address) -> Iterator[Any]:
    """Yield pysunspec2's client after its scan."""
    endpoint: Any = address.endpoint
    client = SunSpecModbusClientDeviceTCP(slave_id=address.unit, ipaddr=endpoint.host, ipport=endpoint.port, timeout=10)
    try:
        client.scan()
        client.connect()
        client.read(40000, 2)  # the server has then accepted it
        yield client
    finally:
        client.close()
        client.disconnect()


def exchange(address: Address, body: bytes) -> bytes:
    """Send one PDU on a socket of its own; return the PDU that answers."""
    endpoint: Any = address.endpoint
    with socket.create_connection((endpoint.host, endpoint.port), timeout=10) as connection:
        connection.sendall(struct.pack(">HHHB", 7, 0, len(body) + 1, address.unit) + body)
        header = _exactly(connection, 7)
        assert header[:4] == b"\0\7\0\0"
        answer = _exactly(connection, struct.unpack(">H", header[4:6])[0] - 1)
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b"", "more than one answer"
        return answer


def _exactly(connection: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        part = connection.recv(count - len(found))
        assert part, "the connection was closed"
        found += part
    return found


VALUES: Mapping[str, tuple[float, ...]] = {
    **{"1.DA": (1,), "121.WMax": (4000.0, 5000.0), "121.VRef": (415.69,), "121.VRefOfs": (0,)},
    **{"121.VAMax": (5100.0,), "121.VArMaxQ1": (1500.0,), "121.VArMaxQ2": (1600.0,), "121.VArMaxQ3": (-900.0,)},
    **{"121.VArMaxQ4": (-1000.0,), "123.Conn_WinTms": (30,), "123.Conn_RvrtTms": (60,), "123.Conn": (0, 1)},
    **{"123.WMaxLimPct": (55.5,), "123.WMaxLimPct_WinTms": (10,), "123.WMaxLimPct_RvrtTms": (600,)},
    **{"123.WMaxLimPct_RmpTms": (20,), "123.WMaxLim_Ena": (1, 0), "123.OutPFSet": (0.95, -0.9, 1.0)},
    **{"123.OutPFSet_WinTms": (5,), "123.OutPFSet_RvrtTms": (300,), "123.OutPFSet_Ena": (1, 0)},
    **{"123.VArWMaxPct": (-20.0,), "123.VArMaxPct": (30.0,), "123.VArPct_WinTms": (7,)},
    **{"123.VArPct_RvrtTms": (120,), "123.VArPct_RmpTms": (9,), "123.VArPct_Mod": (1, 2), "123.VArPct_Ena": (1, 0)},
    **{"124.WChaMax": (3000.0,), "124.WChaGra": (100,), "124.WDisChaGra": (100,), "124.StorCtl_Mod": (1, 2, 3, 0)},
    **{"124.OutWRte": (40.0, -10.0), "124.InWRte": (50.0,), "124.InOutWRte_RvrtTms": (900,)},
    **{"126.ActCrv": (0, 2, 1), "126.ModEna": (1, 0), "126.RvrtTms": (300,), "126.curve.ActPt": (8,)},
    **{"126.curve.DeptRef": (1, 2), "126.curve.RmpTms": (10,)},
    **{f"126.curve.V{i}": (100.25,) for i in range(1, 9)},
    **{f"126.curve.VAr{i}": (-12.5,) for i in range(1, 9)},
    **{"702.WMax": (4500.0,), "702.VAMax": (5200.0,), "702.VarMaxInj": (2000.0,), "702.VarMaxAbs": (1800.0,)},
    **{"702.WChaRteMax": (3500.0,), "702.WDisChaRteMax": (4800.0,), "702.VNom": (415.69,)},
    **{"703.ES": (0, 1), "703.ESVHi": (105.5,), "703.ESVLo": (90.0,), "703.ESHzHi": (60.5,), "703.ESHzLo": (59.2,)},
    **{"703.ESDlyTms": (120,), "703.ESRndTms": (60,), "703.ESRmpTms": (30,)},
    **{
        f"704.{name}{suffix}": (1, 0)
        for name in ("PFWInj", "PFWAbs", "WMaxLimPct", "WSet")
        for suffix in ("Ena", "EnaRvrt")
    },
    **{"704.VarSetEna": (1, 0), "704.VarSetEnaRvrt": (1, 0)},
    **{f"704.{name}RvrtTms": (100_000,) for name in ("PFWInj", "PFWAbs", "WMaxLimPct", "WSet", "VarSet")},
    **{"704.WMaxLimPct": (66.5,), "704.WMaxLimPctRvrt": (80.0,), "704.WSetMod": (0, 1), "704.WSet": (-3000.0, 5000.0)},
    **{"704.WSetRvrt": (-4000.0,), "704.WSetPct": (-12.34,), "704.WSetPctRvrt": (50.0,), "704.VarSetMod": (0, 1, 3, 4)},
    **{"704.VarSet": (2420.0, -2000.0), "704.VarSetRvrt": (-1.0,), "704.VarSetPct": (-100.0,)},
    "704.VarSetPctRvrt": (25.5,),
    **{f"704.{group}.PF": (0.9123,) for group in ("PFWInj", "PFWInjRvrt", "PFWAbs", "PFWAbsRvrt")},
    **{f"704.{group}.Ext": (0, 1) for group in ("PFWInj", "PFWInjRvrt", "PFWAbs", "PFWAbsRvrt")},
    **{f"{model}.Ena": (1, 0) for model in range(705, 713)},
    **{f"{model}.AdptCrvReq": (2,) for model in (705, 706, 707, 708, 709, 710, 712)},
    **{f"{model}.RvrtTms": (86400,) for model in (705, 706, 711, 712)},
    **{f"{model}.RvrtCrv": (3, 0) for model in (705, 706, 712)},
    **{"711.AdptCtlReq": (3,), "711.RvrtCtl": (2,)},
    **{"705.Crv.ActPt": (8,), "705.Crv.DeptRef": (0, 1, 2, 3), "705.Crv.VRef": (97.5,), "705.Crv.RspTms": (12.5,)},
    **{"705.Crv.Pt.V": (101.25,), "705.Crv.Pt.Var": (-33.3,)},
    **{"706.Crv.ActPt": (2,), "706.Crv.DeptRef": (1, 0), "706.Crv.RspTms": (0.5,), "706.Crv.Pt.V": (108.0,)},
    **{"706.Crv.Pt.W": (20.0,), "712.Crv.ActPt": (6,), "712.Crv.DeptRef": (0, 1, 2, 3)},
    **{"712.Crv.Pt.W": (-55.5,), "712.Crv.Pt.Var": (12.5,)},
    **{f"{model}.Crv.MustTrip.ActPt": (2,) for model in (707, 708, 709, 710)},
    **{"707.Crv.MustTrip.Pt.V": (45.0,), "708.Crv.MustTrip.Pt.V": (115.0,)},
    **{"709.Crv.MustTrip.Pt.Hz": (57.5,), "710.Crv.MustTrip.Pt.Hz": (62.125,)},
    **{f"{model}.Crv.MustTrip.Pt.Tms": (1.5,) for model in (707, 708, 709, 710)},
    **{f"{model}.Crv.MomCess.ActPt": (1, 0) for model in (707, 708)},
    **{"707.Crv.MomCess.Pt.V": (30.0,), "708.Crv.MomCess.Pt.V": (112.5,)},
    **{"711.Ctl.DbOf": (0.5,), "711.Ctl.DbUf": (0.017,), "711.Ctl.KOf": (0.04,), "711.Ctl.KUf": (0.0333,)},
    "711.Ctl.RspTms": (7.5,),
    **{"715.ControllerHb": (1, 4_000_000_000), "715.AlarmReset": (0,), "715.OpCtl": (0, 1, 2, 3)},
    **{"802.CtrlHb": (1, 65000), "802.AlmRst": (0,), "802.SetOp": (2, 1), "802.SetInvState": (1, 2, 3)},
}
"""Values that every point may have, by its name without positions of lists; at 60 Hz, for `BATTERY`."""
