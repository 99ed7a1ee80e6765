"""What a distribution management system hears of its feeder, and what it tells whom."""

from __future__ import annotations

from derloop.contract import Interface, Port
from derloop.kind import Context
from federates.control.adms.model import GridModel
from federates.control.adms.settings import AdmsSettings
from federates.control.demand_response import UNITS

ALARMS = ("low_voltage", "high_voltage", "outage", "overload", "stale", "fault")


def interface(settings: AdmsSettings, context: Context, model: GridModel, sections: tuple[str, ...]) -> Interface:
    """Return the ports. sections: those that restoration knows."""
    measured = model.grid.interface
    heard = ["v_pu", "head_kw", "loading_pu", "switches", "taps", "capacitors"]
    heard += ["measured_at_s"] if model.settings.can_change else []
    ports = {name: measured.outputs[name] for name in heard if name in measured.outputs}
    if settings.restoration:
        ports["locked_out"] = Port("1", tuple(relay.switch.lower() for relay in model.settings.protection))
        ports["fault_seen"] = ports["switches"] = Port("1", model.apparatus.switches)
    else:
        ports.pop("switches", None)
    inputs = {f"{model.name}.{name}": Port(p.unit, p.labels, "before") for name, p in ports.items()}
    if not model.settings.can_change:
        inputs[f"{model.name}.age_s"] = Port("s", (model.name,), "before", 0.0)
    for name, heard_as in model.powers.items():
        port = measured.inputs[name]
        inputs[heard_as] = Port(port.unit, port.labels, "before")
    if model.bus:
        inputs[f"{model.bus}.v_pu"] = Port("pu", (model.bus,), "before")
    return Interface(settings.step_ns(context), inputs, _told(settings, context, model, sections))


def _told(settings: AdmsSettings, context: Context, model: GridModel, sections: tuple[str, ...]) -> dict[str, Port]:
    operated = tuple(n for n, ours in zip(model.apparatus.regulators, model.regulators, strict=True) if ours)
    commands = {
        "switch_set": model.apparatus.switches,
        "tap_set": operated,
        "capacitor_set": model.apparatus.capacitors,
    }
    ports = {f"{model.name}.{name}": Port("1", labels) for name, labels in commands.items() if labels}
    if model.settings.operated.local_after_s is not None:
        ports[f"{model.name}.commanded_at_s"] = Port("s", ("commands",))
    for fleet in settings.volt_var.inverters if settings.volt_var else ():
        ports[f"{fleet}.q_set_pu"] = Port("pu", context.labels[fleet])
    ports["alarms"] = Port("1", ALARMS)
    ports |= {name: Port("1", model.nodes) for name in ALARMS[:2]}
    if model.monitored:
        ports["overload"] = Port("1", model.monitored)
    if sections:
        ports["faulted"] = Port("1", sections)
    if settings.volt_var:
        ports["cost_kw"] = Port("kW", ("expected", "without"))
    if settings.peak:
        ports["measures"] = Port("1", (context.name,))
        for member, asked in settings.peak.members.items():
            ports[f"{member}.{asked.port}"] = Port(UNITS[asked.port], context.labels[member])
    return ports
