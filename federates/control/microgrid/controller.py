"""The control of a microgrid as a federate: hears, decides, tells, and counts what customers went without."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from derloop.contract import Interface, Port, Values
from derloop.kind import Context
from derloop.memory import remembers
from federates.control.microgrid.hearing import Hearing, Seen
from federates.control.microgrid.indices import Account, are_out, indices
from federates.control.microgrid.modes import Groups, Judgement, Orders
from federates.control.microgrid.refused import f_nominal_hz, refuse
from federates.control.microgrid.settings import MicrogridSettings
from federates.der.instants import Instants

TOLD = {"mode": "1", "soc_pu": "pu", "sync": "1", "silent": "1"}
COUNTED = {"unserved_kwh": "kWh", "critical_unserved_kwh": "kWh", "saidi_h": "h", "saifi": "1"}


@remembers("_soc_pu", "_silent", "_latest", "_held", "_account", "_run_s")
class Microgrid:
    """m sources, n loads in g groups. State: the mode, who is served, and what was counted."""

    def __init__(self, settings: MicrogridSettings, context: Context) -> None:
        refuse(settings, context)
        self._settings, self._hearing = settings, Hearing(settings, context)
        self._rated = self._hearing.rated
        groups = Groups(self._hearing.group_of, self._hearing.can_go)
        step_ns = settings.step_ns(context)
        self._silent_after_s = settings.silent_s(step_ns)
        self._judgement = Judgement(settings, self._rated, groups, f_nominal_hz(settings, context), step_ns / 1e9)
        self._customers = np.array([g.customers for g in settings.loads])[groups.of_load]
        self._critical = np.array([g.critical for g in settings.loads])[groups.of_load]
        self._account, self._run_s, self._instants = Account.empty(groups.of_load.size), 0.0, Instants()
        self._held = self._latest = self._judgement.first
        self._silent, self._soc_pu = False, 1.0
        told = {name: Port(unit, (context.name,)) for name, unit in (TOLD | COUNTED).items()}
        outputs = self._hearing.outputs | told
        self._interface = Interface(step_ns, self._hearing.inputs, outputs)

    @property
    def interface(self) -> Interface:
        return self._interface

    def start(self) -> Values:
        return self._outputs(Orders(self._latest, np.zeros(self._rated.kva.shape)))

    def step(self, now_ns: int, inputs: Values) -> Values:
        """Return what everybody is told, from what was heard of the last instant."""
        passed_s, seen = self._instants.passed_ns(now_ns) / 1e9, self._hearing.seen(inputs)
        if passed_s > 0.0:
            self._held = self._latest
            self._count(seen, passed_s)
        self._soc_pu = self._judgement.stored_pu(seen.sources)
        self._silent = seen.age_s > self._silent_after_s
        orders = self._judgement.orders(self._held, seen, now_ns / 1e9, self._silent)
        self._latest = orders.state
        return self._outputs(orders)

    def stop(self) -> None:
        pass

    def statistics(self) -> Mapping[str, float]:
        """Return energy that was asked for and not served, of all and of critical loads, and IEEE 1366's indices."""
        account, critical = self._account, self._critical
        asked_kwh, short_kwh = account.asked_kwh, account.unserved_kwh
        critical_kwh = float(asked_kwh[critical].sum())
        served_pu = 1.0 - float(short_kwh[critical].sum()) / critical_kwh if critical_kwh > 0.0 else 1.0
        energy = {"asked_kwh": float(asked_kwh.sum()), "unserved_kwh": float(short_kwh.sum())}
        energy |= {"critical_unserved_kwh": float(short_kwh[critical].sum()), "critical_served_pu": served_pu}
        return energy | indices(account, self._customers, self._run_s)._asdict()

    def _count(self, seen: Seen, passed_s: float) -> None:
        """Count the step that has just passed."""
        on = self._held.served.on[self._hearing.group_of]
        out = are_out(on, seen.demand_kw, seen.solved_kw, seen.island_live)
        self._account = self._account.after(out, seen.demand_kw, passed_s)
        self._run_s += passed_s

    def _outputs(self, orders: Orders) -> Values:
        state, account = orders.state, self._account
        told = orders.p_set_kw, state.v_set_pu, state.runs.astype(float)
        found = self._hearing.said(state.closed, told, state.served.on, state.banks_in)
        own = dict(zip(TOLD, (state.mode, self._soc_pu, state.sync, self._silent), strict=True))
        short_kwh = account.unserved_kwh
        counted = indices(account, self._customers, self._run_s)
        own |= {"unserved_kwh": short_kwh.sum(), "critical_unserved_kwh": short_kwh[self._critical].sum()}
        own |= {"saidi_h": counted.saidi_h, "saifi": counted.saifi}
        return found | {name: np.array([float(value)]) for name, value in own.items()}
