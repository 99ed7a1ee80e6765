"""The feeder of the naive federation: `grid.py JOB`. OpenDSS by its common calls, a publication for each voltage."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import helics
import numpy as np
from joined import job, joined, published, subscribed
from opendssdirect import dss


def compiled(said: dict[str, Any]) -> None:
    """Read the feeder, put a generator at each place, and solve."""
    dss.Basic.AllowChangeDir(False)
    for command in ("Clear", f'Redirect "{said["feeder"]}"', *(_generator(place) for place in said["places"])):
        dss.Text.Command(command)
    dss.Text.Command(f"Set controlmode=off mode=snap tolerance={said['tolerance']} maxiterations=100")
    dss.Text.Command("CalcVoltageBases")
    dss.Solution.Solve()


def _generator(place: dict[str, Any]) -> str:
    at = f"bus1={place['bus']}.{place['phase']} phases=1 kV={place['kv']!r}"
    return f"New Generator.{place['name']} {at} kW=0 kvar=0 model=1 vminpu=0.3 vmaxpu=2"


def v_pu(place: dict[str, Any]) -> float:
    """Return the voltage at a place."""
    dss.Circuit.SetActiveBus(place["bus"])
    return float(dss.Bus.puVmagAngle()[2 * dss.Bus.Nodes().index(place["phase"])])


def main() -> None:
    said = job()
    compiled(said)
    places, names = said["places"], [place["name"] for place in said["places"]]
    federate = joined("grid", said["port"], waits=said["waits"])
    seen = published(federate, *(f"grid/{name}/v_pu" for name in names))
    p, q = (subscribed(federate, *(f"{name}/{port}" for name in names)) for port in ("p_kw", "q_kvar"))
    for given in (*p, *q):
        helics.helicsInputSetDefaultDouble(given, 0.0)
    helics.helicsFederateEnterExecutingMode(federate)
    clock_s, voltages = [], []
    for k in range(len(said["light_wm2"]) + 1):
        if k:
            helics.helicsFederateRequestTime(federate, float(k))
            for name, active, reactive in zip(names, p, q, strict=True):
                dss.Generators.Name(name)
                dss.Generators.kW(helics.helicsInputGetDouble(active))
                dss.Generators.kvar(helics.helicsInputGetDouble(reactive))
            dss.Solution.Solve()
            voltages.append(dss.Circuit.AllBusMagPu())
            clock_s.append(perf_counter())
        for place, publication in zip(places, seen, strict=True):
            helics.helicsPublicationPublishDouble(publication, v_pu(place))
    helics.helicsFederateDisconnect(federate)
    np.savez(said["found"], clock_s=clock_s, v_pu=voltages, nodes=dss.Circuit.AllNodeNames())


if __name__ == "__main__":
    main()
