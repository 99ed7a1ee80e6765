"""One rooftop of the naive federation, `device.py JOB NUMBER`: the arithmetic of the kind `pv`, in plain Python."""

from __future__ import annotations

import sys
from itertools import pairwise
from typing import Any

import helics
from joined import job, joined, published, subscribed

LOSSES_PU, EFFICIENCY_PU, ETA_REFERENCE, PER_K, NOCT_C = 0.14, 0.96, 0.9637, -0.0035, 45.0


class Rooftop:
    """An array as large as its inverter, and its volt-var."""

    def __init__(self, kva: float, curve: dict[str, Any], step_s: float) -> None:
        self._kva, self._points = kva, list(pairwise(zip(curve["v_pu"], curve["q_pu"], strict=True)))
        self._left = 10.0 ** (-step_s / curve["response_s"])
        self._q_kvar: float | None = None

    def available_kw(self, light_wm2: float) -> float:
        """Return what the light gives behind the inverter (PVWatts version 5)."""
        warmer_k = light_wm2 * (NOCT_C - 20.0) / 800.0
        dc_kw = self._kva * light_wm2 * (1.0 + PER_K * warmer_k) * (1.0 - LOSSES_PU) / 1000.0
        limit_kw = self._kva / EFFICIENCY_PU
        z = min(dc_kw / limit_kw, 1.0)
        ac_kw = limit_kw * (EFFICIENCY_PU / ETA_REFERENCE) * ((0.9858 - 0.0162 * z) * z - 0.0059)
        return min(max(ac_kw, 0.0), self._kva)

    def q_kvar(self, v_pu: float) -> float:
        """Return the reactive power a step later: the curve's, behind its lag, which is settled at first."""
        target = self._kva * self._on_curve(v_pu)
        before = target if self._q_kvar is None else self._q_kvar
        self._q_kvar = target + (before - target) * self._left
        return self._q_kvar

    def _on_curve(self, v_pu: float) -> float:
        (v_low, q_first), _ = self._points[0]
        if v_pu <= v_low:
            return float(q_first)
        for (v0, q0), (v1, q1) in self._points:
            if v_pu <= v1:
                return float(q0 + (q1 - q0) * (v_pu - v0) / (v1 - v0))
        return float(self._points[-1][1][1])


def main() -> None:
    said, number = job(), int(sys.argv[2])
    name, rooftop = (
        said["places"][number]["name"],
        Rooftop(said["places"][number]["kva"], said["curve"], said["step_s"]),
    )
    federate = joined(name, said["port"], waits=False)
    p, q = published(federate, f"{name}/p_kw", f"{name}/q_kvar")
    (v,) = subscribed(federate, f"grid/{name}/v_pu")
    helics.helicsFederateEnterExecutingMode(federate)
    for k, light_wm2 in enumerate(said["light_wm2"], start=1):
        helics.helicsFederateRequestTime(federate, float(k))
        helics.helicsPublicationPublishDouble(p, rooftop.available_kw(light_wm2))
        helics.helicsPublicationPublishDouble(q, rooftop.q_kvar(helics.helicsInputGetDouble(v)))
    helics.helicsFederateDisconnect(federate)


if __name__ == "__main__":
    main()
