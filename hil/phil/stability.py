"""Whether the loop of a power interface will hold still, estimated before anything is energised.

Each step the source gives the device the feeder's voltage, the device answers with power, and the feeder with another
voltage one step later. For small changes, with v in pu of nominal and p, q in pu of the rating that the device stands
for:

- the feeder:  dv[k] = r df_p[k-1] + x df_q[k-1], with the source impedance r + jx in pu of that rating;
- the device:  dp[k] = p' dv[k-d], dq[k] = q' dv[k-d], d further steps late;
- the filter:  df[k] = a df[k-1] + (1 - a) d(p, q)[k], with a = exp(-step / T).

With the loop's gain g = r p' + x q' that is z^(d+1) - a z^d - (1 - a) g = 0: the loop settles where every root lies
within the unit circle. The gain margin is by how much g may grow until one does not.

Beside it stands the criterion of interfaces that exchange waveforms, |Z_source / Z_device| < 1: W. Ren, M. Steurer,
T. L. Baldwin, "Improve the Stability and the Accuracy of Power Hardware-in-the-Loop Simulation by Selecting
Appropriate Interface Algorithms", IEEE Trans. Ind. Appl. 44 (2008) 1286-1294; G. F. Lauss et al., "Characteristics
and Design of Power Hardware-in-the-Loop Simulations for Electrical Power Systems", IEEE Trans. Ind. Electron. 63
(2016) 406-417. A feeder that sees powers and not currents asks for more of a resistive device: its power answers
the square of the voltage, so that g is twice the ratio.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

MOST_GAIN = 1e6
"""A margin beyond this is none that could be used up."""
_HALVINGS = 60


@dataclass(frozen=True, slots=True)
class Answer:
    """How a device's power answers its voltage, in pu of its rating for 1 pu of voltage, positive when injected."""

    p_per_v: float
    q_per_v: float = 0.0


IMPEDANCE = Answer(-2.0)
"""A resistor that draws the rating."""


def steepest(v_pu: Sequence[float], power_pu: Sequence[float]) -> float:
    """Return by how much a volt-var or volt-watt curve changes for 1 pu of voltage, where it does most."""
    steps = [(b - a, d - c) for (a, b), (c, d) in zip(pairwise(v_pu), pairwise(power_pu), strict=True)]
    slopes = [change / dv if dv > 0 else math.copysign(math.inf, change) for dv, change in steps if change]
    return max(slopes, key=abs, default=0.0)


@dataclass(frozen=True, slots=True)
class Loop:
    """What is known of an interface beside its device."""

    source_pu: complex
    """Source impedance r + jx, in pu of the rating that the device stands for."""
    memory: float = 0.0
    """How much of the last value the filter keeps in a step: a."""
    delay_steps: int = 0
    """How many steps later than in the next one the device's answer comes."""
    beside: float = 0.0
    """The gain of what else answers the same voltage: g grows by it."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is to be expected of a loop."""

    gain: float
    """g: what is left of a change of voltage after one step, with its sign, without a filter."""
    radius: float
    """The largest root: what is left of a change per step, at last."""
    gain_margin: float
    """By how much the gain may grow until the loop does not settle; at most `MOST_GAIN`."""
    impedance_ratio: float
    """|Z_source / Z_device| for a device that draws its rating."""

    @property
    def is_stable(self) -> bool:
        return self.radius < 1.0

    @property
    def text(self) -> str:
        said = "settles" if self.is_stable else "does not settle"
        margin = "more than a million" if self.gain_margin >= MOST_GAIN else f"{self.gain_margin:.3g}"
        return (
            f"the loop {said}: gain {self.gain:.3g}, largest root {self.radius:.3g}, gain margin {margin}, "
            f"|Zs/Zd| {self.impedance_ratio:.3g}"
        )


def estimate(loop: Loop, answer: Answer) -> Estimate:
    """Return what is to be expected of a loop with a device that answers so."""
    gain = gain_of(loop.source_pu, answer) + loop.beside
    return Estimate(gain, _radius(loop, gain), _margin(loop, gain), abs(loop.source_pu))


def gain_of(source_pu: complex, answer: Answer) -> float:
    """Return the gain g of a device that has its source to itself."""
    return source_pu.real * answer.p_per_v + source_pu.imag * answer.q_per_v


def per_unit(impedance_ohm: complex, v_ln_v: float, s_va: float, phases: int) -> complex:
    """Return an impedance in pu of a device's rating: s_va over all its phases, v_ln_v line to neutral."""
    return impedance_ohm * (s_va / phases) / v_ln_v**2


def _radius(loop: Loop, gain: float) -> float:
    if not math.isfinite(gain):
        return math.inf
    a, d = loop.memory, loop.delay_steps
    coefficients = [1.0, -a, *[0.0] * d]
    coefficients[-1] -= (1.0 - a) * gain
    return float(np.abs(np.roots(coefficients)).max(initial=0.0))


def _margin(loop: Loop, gain: float) -> float:
    """Return the factor at which the loop is at its limit, by halving."""
    if gain == 0.0 or _radius(loop, gain * MOST_GAIN) < 1.0:
        return MOST_GAIN
    low, high = 0.0, MOST_GAIN
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _radius(loop, gain * middle) < 1.0 else (low, middle)
    return low
