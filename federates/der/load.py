"""Loads of the feeder file, driven by a profile.

Powers are positive when drawn. With the nominal powers of the feeder file, the profile `s(t)` and the setting `scale`,

    P_i(t) = P_nominal_i scale s(t) v_i(t)        Q_i(t) = Q_nominal_i scale s(t) v_i(t)

so each load keeps its power factor. How the powers answer to voltage is the load's model in the feeder file.

The variation `v_i(t) = max(0, 1 + sigma x_i(t))` is 1 unless the setting `variation` is there. Each `x_i` is a sum of
M = 16 cosines, smooth, about normal with variance 1 and independent of the other loads (spectral representation:
M. Shinozuka and G. Deodatis, "Simulation of Stochastic Processes by Spectral Representation", Appl. Mech. Rev. 44,
1991):

    x_i(t) = sqrt(2 / M) sum_m cos(2 pi t / T_im + phi_im)

with periods log-uniform between half and twice `period_s`, and phases uniform. It depends on the seed, the load's name
and the time alone.

Loads that are `sheddable` can be taken off, and may draw more when they come back (`shedding.py`):
`P connected (1 + most_pu w)` with `dw/dt = (1 - w) / builds_s` while off and `-w / decays_s` while on.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

import numpy as np
from pydantic import Field

from derloop.contract import FloatArray, Interface, Port, Values
from derloop.errors import did_you_mean
from derloop.kind import Context, FeederLoad, Kind, PlaceError, Settings, Terminal
from derloop.memory import remembers
from federates.der import Stepped
from federates.der.placement import stream
from federates.der.profile import ProfileColumn, read_profile
from federates.der.shedding import Sheddable, Shedding, all_on

MODES = 16


class Variation(Settings):
    """Smooth random variation of each load."""

    sigma_pu: float = Field(
        gt=0.0, le=1.0, description="Standard deviation, pu of the load at that time.", examples=[0.1]
    )
    period_s: float = Field(
        default=900.0, gt=0.0, le=86400.0, description="Typical time from peak to peak, s.", examples=[900.0]
    )


class LoadSettings(Sheddable, Stepped):
    """Loads of the feeder file that follow one profile."""

    loads: tuple[str, ...] = Field(
        default=("*",),
        min_length=1,
        description="Names of loads in the feeder file; `*` and `?` stand for any characters.",
        examples=[["671", "632_671*"]],
    )
    profile: ProfileColumn | None = Field(
        default=None,
        description="Share of nominal power over time. Without it, 1 at all times.",
        examples=[{"file": "profiles/load_shapes_summer.csv", "column": "residential_pu"}],
    )
    scale: float = Field(default=1.0, ge=0.0, le=1000.0, description="Factor on the nominal powers.", examples=[0.8])
    variation: Variation | None = Field(
        default=None,
        description="Smooth random variation of each load.",
        examples=[{"sigma_pu": 0.1, "period_s": 900}],
    )


@remembers()
class LoadGroup:
    """n loads. Their powers depend on time alone, unless they can be taken off."""

    def __init__(self, settings: LoadSettings, context: Context) -> None:
        loads = _matching(settings, context)
        labels = tuple(load.name for load in loads)
        self._shedding = Shedding(settings, len(labels))
        powers = {"p_kw": Port("kW", labels), "q_kvar": Port("kvar", labels)}
        inputs, outputs = self._shedding.inputs(labels), powers | self._shedding.outputs(labels)
        self._interface = Interface(settings.step_ns(context), inputs, outputs)
        self._kw = np.array([load.kw for load in loads]) * settings.scale
        self._kvar = np.array([load.kvar for load in loads]) * settings.scale
        self._profile = settings.profile and read_profile(settings.profile, context, self._interface.step_ns, "profile")
        self._noise = settings.variation and _Noise(settings.variation, context, labels)

    @property
    def interface(self) -> Interface:
        return self._interface

    def start(self) -> Values:
        return self.step(0, all_on(self._kw.size))

    def step(self, now_ns: int, inputs: Values) -> Values:
        share: FloatArray | float = self._profile.at(now_ns) if self._profile else 1.0
        if self._noise:
            share = share * self._noise.at(now_ns)
        return self._shedding.drawn(now_ns, self._kw * share, self._kvar * share, inputs)

    def stop(self) -> None:
        pass


class _Noise:
    """The variation of n loads."""

    def __init__(self, variation: Variation, context: Context, names: tuple[str, ...]) -> None:
        streams = [stream(context, f"variation {name}") for name in names]
        octave = np.array([s.uniform(-1.0, 1.0, MODES) for s in streams])
        self._phase = np.array([s.uniform(0.0, 2.0 * np.pi, MODES) for s in streams])
        self._rad_s = 2.0 * np.pi / (variation.period_s * 2.0**octave)
        self._sigma = variation.sigma_pu * np.sqrt(2.0 / MODES)

    def at(self, now_ns: int) -> FloatArray:
        """Return the factors (n,)."""
        waves = np.cos(self._rad_s * (now_ns / 1e9) + self._phase)
        factors: FloatArray = np.maximum(1.0 + self._sigma * waves.sum(axis=1), 0.0)
        return factors


def _matching(settings: LoadSettings, context: Context) -> list[FeederLoad]:
    """Return the loads that the patterns name, in the order of the feeder file; raises PlaceError."""
    if context.feeder is None:
        raise PlaceError([(("loads",), "there is no feeder whose loads could be driven")])
    loads = context.feeder.loads
    patterns = [pattern.lower() for pattern in settings.loads]
    problems: list[tuple[tuple[str | int, ...], str]] = [
        (("loads", i), f"no load of the feeder is called {pattern!r}" + did_you_mean(pattern, [*loads]))
        for i, pattern in enumerate(patterns)
        if not any(fnmatchcase(name, pattern) for name in loads)
    ]
    if problems:
        raise PlaceError(problems)
    return [load for name, load in loads.items() if any(fnmatchcase(name, pattern) for pattern in patterns)]


def terminals(settings: LoadSettings, context: Context) -> tuple[Terminal, ...]:
    """Return the loads that the group drives."""
    return tuple(
        Terminal(load.name, load.bus, load.phases, float(np.hypot(load.kw, load.kvar)), draws=True, element=load.name)
        for load in _matching(settings, context)
    )


KIND = Kind("load", "Loads of the feeder file that follow a profile", LoadSettings, LoadGroup, terminals, draws=True)
