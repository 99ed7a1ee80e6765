"""The distribution management system as a federate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from derloop.contract import FloatArray, Interface, Values
from derloop.kind import Context, Kind
from derloop.memory import remembers
from federates.control.adms import monitoring
from federates.control.adms.model import Commands, GridModel
from federates.control.adms.monitoring import Alarms
from federates.control.adms.peak import PeakState, is_on, next_level
from federates.control.adms.ports import ALARMS, interface
from federates.control.adms.refused import refuse
from federates.control.adms.restoration import Restoration
from federates.control.adms.settings import AdmsSettings
from federates.control.adms.volt_var import VoltVar
from federates.control.demand_response import AT_REST
from federates.grid.switchgear import NEVER_S


class _State(NamedTuple):
    """What an instant leaves to the next."""

    commands: Commands
    alarms: Alarms
    searched_s: float = NEVER_S
    """When taps and banks were sought last."""
    dated_s: float = NEVER_S
    """When telemetry was last young enough to stand by the commands."""
    peak: PeakState = PeakState()
    locked_s: float | None = None
    """Since when a lock-out waits for somebody."""
    faulted: frozenset[int] = frozenset()
    isolating: bool = False
    is_stale: bool = False
    cost_kw: tuple[float, float] = (0.0, 0.0)
    """As the last search expects it, and as it would have been without."""
    counted: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Searches, their power flows, alarms raised, switching operations."""


@remembers("_now_ns", "_held", "_first_ns", "_latest")
class Adms:
    """A distribution management system. State: see `_State`."""

    def __init__(self, settings: AdmsSettings, context: Context) -> None:
        self._name, self._settings = context.name, settings
        self._fleets = settings.volt_var.inverters if settings.volt_var else ()
        self._model = model = GridModel(context, self._fleets, settings.feeder)
        refuse(settings, model, context)
        self._volt_var = VoltVar(settings.volt_var, model) if settings.volt_var else None
        self._restoration = Restoration(settings.restoration, model, self._volt_var) if settings.restoration else None
        self._watched = model.watched(settings.monitoring.ignore)
        self._sections = self._restoration.sections.names if self._restoration else ()
        self._interface = interface(settings, context, model, self._sections)
        self._is_dated = model.settings.can_change
        longest_ns = max(self._interface.step_ns, model.grid.interface.step_ns)
        self._stale_s = settings.stale_after_s or 3 * longest_ns / 1e9
        self._relays = tuple(relay.switch.lower() for relay in model.settings.protection)
        alarms = monitoring.none(len(model.nodes), len(model.monitored))
        self._held = self._latest = _State(model.in_file(), alarms)
        self._first_ns: int | None = None
        self._now_ns: int | None = None

    @property
    def interface(self) -> Interface:
        return self._interface

    @property
    def cautions(self) -> tuple[str, ...]:
        """What moves in the feeder, and is not heard of."""
        banks = self._model.unheard_banks
        if not banks or not (self._volt_var or self._restoration):
            return ()
        what = "move by controls of the file, and are not operated: its power flow has them as they stand in the file"
        return (f"{self._name}: banks {', '.join(banks)} of {self._model.name!r} {what}",)

    def start(self) -> Values:
        return self._outputs(self._latest)

    def step(self, now_ns: int, inputs: Values) -> Values:
        """Return commands and alarms.

        inputs: what the feeder measured, `<feeder>.v_pu` ..., and the powers of all that meets it, of the last instant;
        nothing is decided at the first one, before which nothing was measured.
        """
        if now_ns != self._now_ns:  # all inputs are of the last instant: a repeated step changes nothing
            self._now_ns, self._held = now_ns, self._latest
            if self._first_ns is None:
                self._first_ns = now_ns
            else:
                self._latest = self._decided(now_ns / 1e9, inputs)
        return self._outputs(self._latest)

    def stop(self) -> None:
        pass

    def statistics(self) -> Mapping[str, float]:
        """Return how often taps and banks were sought, with how many power flows, and what else was done."""
        names = "searches", "power_flows", "alarms_raised", "switching_operations"
        return dict(zip(names, map(float, self._latest.counted), strict=True))

    # --- deciding ------------------------------------------------------------------------------------

    def _decided(self, now_s: float, inputs: Values) -> _State:
        state = self._held
        measured_s = self._measured_s(now_s, inputs)
        if measured_s < 0.0 or now_s - measured_s > self._stale_s:
            return state._replace(is_stale=True, peak=PeakState())
        state = self._watching(state._replace(is_stale=False), inputs)
        self._model.measure(inputs)
        if self._settings.peak:
            head_kw = float(self._heard(inputs, "head_kw")[0])
            state = state._replace(peak=next_level(self._settings.peak, state.peak, head_kw, now_s))
        state = self._restoring(state, now_s, inputs)
        state = self._optimising(state, now_s, inputs)
        return state._replace(dated_s=now_s if state.searched_s > NEVER_S else NEVER_S)

    def _measured_s(self, now_s: float, inputs: Values) -> float:
        if self._is_dated:
            return float(self._heard(inputs, "measured_at_s")[0])
        return now_s - float(self._heard(inputs, "age_s")[0])

    def _heard(self, inputs: Values, port: str) -> FloatArray:
        return inputs[f"{self._model.name}.{port}"]

    def _watching(self, state: _State, inputs: Values) -> _State:
        loading_pu = self._heard(inputs, "loading_pu") if self._model.monitored else np.zeros(0)
        limits = self._settings.monitoring
        alarms = monitoring.watch(state.alarms, self._heard(inputs, "v_pu"), loading_pu, self._watched, limits)
        raised = sum(int((now & ~before).sum()) for now, before in zip(alarms, state.alarms, strict=True))
        return state._replace(alarms=alarms, counted=_more(state.counted, alarms=raised))

    def _restoring(self, state: _State, now_s: float, inputs: Values) -> _State:
        if self._restoration is None or self._settings.restoration is None:
            return state
        if state.isolating:
            return self._restored(state, inputs)
        locked = self._heard(inputs, "locked_out") > 0.5
        if not locked.any():
            return state._replace(locked_s=None)
        if state.locked_s is None:
            state = state._replace(locked_s=now_s)
        assert state.locked_s is not None
        return state if now_s - state.locked_s < self._settings.restoration.after_s else self._isolated(state, inputs)

    def _isolated(self, state: _State, inputs: Values) -> _State:
        """Open what is around the fault, and what has locked out."""
        assert self._restoration
        closed = state.commands.switches > 0.5
        names = self._model.apparatus.switches
        seen = self._heard(inputs, "fault_seen") > 0.5
        locked = [
            names.index(r) for r, is_out in zip(self._relays, self._heard(inputs, "locked_out"), strict=True) if is_out
        ]
        found = self._restoration.sections.faulted(closed, seen)
        found &= self._restoration.sections.behind(closed, locked)  # indicators may tell of an earlier fault
        if not found:
            return state
        faulted = state.faulted | found
        told = self._restoration.isolated(state.commands.switches, {*faulted})
        told[locked] = 0.0
        return self._switched(state, told)._replace(faulted=frozenset(faulted), isolating=True, locked_s=None)

    def _restored(self, state: _State, inputs: Values) -> _State:
        """Tell the best plan once what is around the fault says that it is open."""
        assert self._restoration
        told = state.commands.switches
        if ((self._heard(inputs, "switches") > 0.5) & (told < 0.5)).any():
            return state
        solved = self._model.solutions
        found = self._restoration.best(self._now(state, inputs), {*state.faulted})
        counted = _more(state.counted, solutions=self._model.solutions - solved)
        state = self._switched(state._replace(isolating=False, counted=counted), found.switches)
        return state._replace(commands=found if self._volt_var else found._replace(taps=state.commands.taps))

    def _switched(self, state: _State, told: FloatArray) -> _State:
        moved = int((told != state.commands.switches).sum())
        counted = _more(state.counted, operations=moved)
        return state._replace(commands=state.commands._replace(switches=told), counted=counted, searched_s=NEVER_S)

    def _now(self, state: _State, inputs: Values) -> Commands:
        """Return how the feeder is set: switches as told, taps and banks as measured."""
        taps = self._heard(inputs, "taps") if state.commands.taps.size else state.commands.taps
        banks = self._heard(inputs, "capacitors") if state.commands.capacitors.size else state.commands.capacitors
        return state.commands._replace(taps=np.array(taps), capacitors=np.array(banks))

    def _optimising(self, state: _State, now_s: float, inputs: Values) -> _State:
        settings = self._settings.volt_var
        if self._volt_var is None or settings is None or state.isolating or state.locked_s is not None:
            return state
        is_low = is_on(self._settings.peak, state.peak, "voltage")
        was_low = is_on(self._settings.peak, self._held.peak, "voltage")
        if now_s - state.searched_s < settings.every_s and is_low == was_low:
            return state
        v_low_pu = self._settings.peak.v_low_pu if self._settings.peak and is_low else None
        found = self._volt_var.search(self._now(state, inputs), v_low_pu)
        counted = _more(state.counted, searches=1, solutions=found.solutions)
        costs = found.cost_kw, found.before_kw
        return state._replace(commands=found.commands, searched_s=now_s, cost_kw=costs, counted=counted)

    # --- telling -------------------------------------------------------------------------------------

    def _outputs(self, state: _State) -> Values:
        model, told = self._model, state.commands
        of_grid = {
            "switch_set": told.switches,
            "tap_set": told.taps[model.regulators],
            "capacitor_set": told.capacitors,
            "commanded_at_s": np.array([state.dated_s]),
        }
        mine = {f"{model.name}.{port}": value for port, value in of_grid.items()}
        found = {port: value for port, value in mine.items() if port in self._interface.outputs} | self._asked(state)
        for fleet, q_pu in zip(self._fleets, told.q_pu, strict=True):
            found[f"{fleet}.q_set_pu"] = np.full(self._interface.outputs[f"{fleet}.q_set_pu"].size, q_pu)
        counts = state.alarms.counts.tolist()
        found["alarms"] = np.array([*counts, float(state.is_stale), float(len(state.faulted))])
        for name, part in zip(ALARMS[:2], state.alarms[:2], strict=True):
            found[name] = part.astype(np.float64)
        if model.monitored:
            found["overload"] = state.alarms.overload.astype(np.float64)
        if self._sections:
            found["faulted"] = np.isin(np.arange(len(self._sections)), [*state.faulted]).astype(np.float64)
        if self._volt_var:
            found["cost_kw"] = np.array(state.cost_kw)
        return found

    def _asked(self, state: _State) -> dict[str, FloatArray]:
        peak = self._settings.peak
        if peak is None:
            return {}
        asks = is_on(peak, state.peak, "members")
        found = {"measures": np.array([float(state.peak.level)])}
        for member, asked in peak.members.items():
            port = f"{member}.{asked.port}"
            value = asked.value if asks else AT_REST[asked.port]
            found[port] = np.full(self._interface.outputs[port].size, value)
        return found


def _more(
    counted: tuple[int, int, int, int], searches: int = 0, solutions: int = 0, alarms: int = 0, operations: int = 0
) -> tuple[int, int, int, int]:
    return counted[0] + searches, counted[1] + solutions, counted[2] + alarms, counted[3] + operations


KIND = Kind(
    "adms",
    "Distribution management: alarms, volt-var optimisation, peaks, restoration after faults",
    AdmsSettings,
    Adms,
)
