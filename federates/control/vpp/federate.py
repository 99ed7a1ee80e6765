"""The virtual power plant as a federate: hears members, lets services act in order, and sends setpoints."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from derloop.contract import FloatArray, Interface, Port, Values
from derloop.kind import Context, Kind, PlaceError
from derloop.memory import remembers
from federates.control.vpp.arbitrage import Arbitrage, Arbitrageur
from federates.control.vpp.called import Answerer, Called
from federates.control.vpp.dispatch import Dispatch, Hours
from federates.control.vpp.grid import Grid, Room, asked_of
from federates.control.vpp.members import Fleets, Measured
from federates.control.vpp.membership import chosen
from federates.control.vpp.peak_shaving import PeakShaver, PeakShaving
from federates.control.vpp.regulation import RegulationSignal, Regulator
from federates.control.vpp.reserve import Reserve, Reserver
from federates.control.vpp.schedule import Follower, Schedule
from federates.control.vpp.service import Now, Service, ServiceSettings, Stand
from federates.control.vpp.settings import VppSettings
from federates.control.vpp.sites import SitePeakShaver, SitePeakShaving
from federates.control.vpp.voltage_support import VoltageSupport, VoltageSupporter
from federates.fleets import Problems

WITHOUT_END_H = 1e4
"""For how long a device can go on that has no store, or does not tell: longer than any store."""


@remembers("_asked", "_told", "_first_ns", "_now_ns", "_held_asked")
class Vpp:
    """A virtual power plant of n devices. State: that of its services, and what was asked last."""

    def __init__(self, settings: VppSettings, context: Context) -> None:
        self._settings, self._name = settings, context.name
        names = chosen(settings.members, context)
        self._step_ns = settings.step_ns(context)
        agreed, step_h = settings.preferences, self._step_ns / 3.6e12
        self._silent_after_s = settings.silent_s(self._step_ns)
        self._fleets = Fleets(names, agreed, self._silent_after_s, context, step_h, settings.efficiency_pu)
        self._services = _services(settings, self._fleets, self._step_ns, context)
        limits = settings.constraints
        self._grid = None if limits is None else asked_of(limits, self._fleets, context, ("constraints",))
        self._first_ns: int | None = None
        self._now_ns: int | None = None
        self._asked = self._held_asked = (0.0, 0.0)
        """The sums of what was asked, without and of what was deployed: at this instant, and at the last one."""
        self._told = 0.0, 0.0
        """How many devices are silent, and how much was cut."""
        self._interface = self._made_interface()

    @property
    def interface(self) -> Interface:
        return self._interface

    def start(self) -> Values:
        return self._outputs(np.zeros(self._fleets.size))

    def step(self, now_ns: int, inputs: Values) -> Values:
        if self._first_ns is None or now_ns == self._first_ns:
            self._first_ns = now_ns  # nothing was measured yet
            return self._outputs(np.zeros(self._fleets.size))
        if now_ns != self._now_ns:
            self._now_ns, self._held_asked = now_ns, self._asked
            for service in self._services:
                service.advance()
        members = self._fleets.measured(inputs, now_ns / 1e9)
        dispatch = self._dispatched(now_ns, inputs, members)
        self._asked = dispatch.total_kw, float(dispatch.offset_kw.sum())
        self._told = float((~members.is_heard).sum()), 0.0
        if self._grid is None:
            return self._outputs(dispatch.setpoints_kw)
        told_kw = self._constrained_kw(now_ns, dispatch, inputs, members, self._grid)
        self._asked = _base_kw(dispatch, told_kw, Dispatch.at_rest(members).p_kw), self._asked[1]
        return self._outputs(told_kw)

    def stop(self) -> None:
        pass

    def _dispatched(self, now_ns: int, inputs: Values, members: Measured) -> Dispatch:
        dispatch = Dispatch.at_rest(members)
        for service in self._services:
            is_deaf = self._is_deaf(service.inputs, inputs, now_ns)
            now = Now(now_ns, inputs, members, self._hours(members), *self._held_asked, is_deaf)
            dispatch = service.serve(now, dispatch)
        return dispatch

    def _constrained_kw(
        self, now_ns: int, dispatch: Dispatch, inputs: Values, members: Measured, grid: Grid
    ) -> FloatArray:
        """Return the setpoints (n,), cut down to rest as far as the feeder's limits ask for it."""
        asked_kw, rest_kw = dispatch.setpoints_kw, Dispatch.at_rest(members).p_kw
        if self._is_deaf(grid.inputs, inputs, now_ns):
            cut_kw = rest_kw
        else:
            room = Room(np.minimum(asked_kw, rest_kw), np.maximum(asked_kw, rest_kw))
            cut_kw = grid.kept(asked_kw, grid.expected(asked_kw, inputs, members), room)
        self._told = self._told[0], float(np.abs(asked_kw - cut_kw).sum())
        return cut_kw

    def _hours(self, members: Measured) -> Hours | None:
        if self._settings.shares == "proportional":
            return None
        without_end_kwh = np.where(members.soc_pu < 0.0, WITHOUT_END_H * members.rated_kw, 0.0)
        given_kwh, taken_kwh = members.discharging_kwh + without_end_kwh, members.charging_kwh + without_end_kwh
        step_h, is_untold = self._step_ns / 3.6e12, members.size_kwh == 0.0  # then what it can do lasts for a step
        given_kwh = np.where(is_untold, np.maximum(given_kwh, members.high_kw * step_h), given_kwh)
        taken_kwh = np.where(is_untold, np.maximum(taken_kwh, -members.low_kw * step_h), taken_kwh)
        return Hours(given_kwh, taken_kwh, step_h)

    def _is_deaf(self, reads: Mapping[str, Port], inputs: Values, now_ns: int) -> bool:
        """Return whether anything that is read is too old, or was said before the run began, and so not measured."""
        oldest_s = min(self._silent_after_s, now_ns / 1e9)
        ages = [port for port in reads if port.endswith(".age_s")]
        return any(float(inputs[port].max()) > oldest_s for port in ages)

    def _outputs(self, setpoints_kw: FloatArray) -> Values:
        """Return what members are asked for, and what services tell."""
        told = {"target_kw": np.array([setpoints_kw.sum()]), "silent": np.array(self._told[:1])}
        if self._grid is not None:
            told["cut_kw"] = np.array(self._told[1:])
        for service in self._services:
            told |= service.told()
        return self._fleets.parted(setpoints_kw) | told

    def _made_interface(self) -> Interface:
        inputs: dict[str, Port] = {}
        outputs = self._fleets.outputs | {"target_kw": Port("kW", (self._name,)), "silent": Port("1", (self._name,))}
        if self._grid is not None:
            inputs |= self._grid.inputs
            outputs["cut_kw"] = Port("kW", (self._name,))
        for service in self._services:
            inputs |= service.inputs
            outputs |= service.outputs
        return Interface(self._step_ns, inputs | self._fleets.inputs, outputs)


def _base_kw(dispatch: Dispatch, told_kw: FloatArray, rest_kw: FloatArray) -> float:
    """Return the base point of setpoints (n,) that were cut to `told_kw` (n,), towards rest (n,).

    A cut takes of the base point, and of what is deployed only what is left of it.
    """
    to_rest_kw = dispatch.p_kw - rest_kw
    cut_kw = np.clip(dispatch.setpoints_kw - told_kw, np.minimum(to_rest_kw, 0.0), np.maximum(to_rest_kw, 0.0))
    return float((dispatch.p_kw - cut_kw).sum())


def _services(settings: VppSettings, fleets: Fleets, step_ns: int, context: Context) -> tuple[Service, ...]:
    """Return the services in their order; raises PlaceError with every problem of all of them."""
    made: list[Service] = []
    problems: Problems = []
    for i, service in enumerate(settings.services):
        stand = Stand(context, step_ns, fleets, ("services", i), settings.efficiency_pu)
        try:
            made.append(_made(service, stand))
        except PlaceError as error:
            problems += error.problems
    if problems:
        raise PlaceError(problems)
    return tuple(made)


def _made(service: ServiceSettings, stand: Stand) -> Service:
    match service:
        case PeakShaving():
            return PeakShaver(service, stand)
        case SitePeakShaving():
            return SitePeakShaver(service, stand)
        case Arbitrage():
            return Arbitrageur(service, stand)
        case Schedule():
            return Follower(service, stand)
        case RegulationSignal():
            return Regulator(service, stand)
        case Reserve():
            return Reserver(service, stand)
        case Called():
            return Answerer(service, stand)
        case VoltageSupport():
            return VoltageSupporter(service, stand)
    raise TypeError(f"{type(service).__name__} is no service")


KIND = Kind("vpp", "A virtual power plant that commands fleets", VppSettings, Vpp)
