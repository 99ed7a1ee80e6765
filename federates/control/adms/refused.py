"""What a distribution management system refuses before a run."""

from __future__ import annotations

from derloop.kind import Context, PlaceError
from federates.control.adms.model import GridModel
from federates.control.adms.settings import AdmsSettings
from federates.fleets import Problems, named, unknown, untaken


def refuse(settings: AdmsSettings, model: GridModel, context: Context) -> None:
    """Raise PlaceError with what could not be done with this feeder."""
    problems: Problems = []
    operated = model.settings.operated
    fleets = settings.volt_var.inverters if settings.volt_var else ()
    if settings.volt_var and not (operated.regulators or operated.capacitors or fleets):
        problems.append((("volt_var",), f"{model.name!r} has neither regulators nor capacitors among what is operated"))
    problems += named(fleets, ("volt_var", "inverters"), context)
    for i, fleet in enumerate(fleets):
        if what := untaken(fleet, "q_set_pu", context):
            problems.append((("volt_var", "inverters", i), what))
    if not settings.volt_var and (operated.regulators or operated.capacitors) and operated.local_after_s is None:
        what = f"regulators or capacitors of {model.name!r} are operated: they need volt_var, or local_after_s"
        problems.append((("volt_var",), what))
    if settings.stale_after_s is not None and settings.stale_after_s * 1e9 < model.grid.interface.step_ns:
        step_s = model.grid.interface.step_ns / 1e9
        problems.append((("stale_after_s",), f"{model.name!r} measures every {step_s:g} s: always older than that"))
    if settings.restoration:
        lacking = [name for name in ("protection", "indicators") if not getattr(model.settings, name)]
        lacking += [] if operated.switches else ["operated.switches"]
        problems += [(("restoration",), f"needs {name} of {model.name!r}") for name in lacking]
        relays = [relay.switch for relay in model.settings.protection]
        closed_by_nobody = [name for name in relays if name.lower() not in model.apparatus.switches]
        if closed_by_nobody and operated.switches:
            what = "have protection, and are not among operated.switches: once locked out, nobody could close them"
            problems.append((("restoration",), f"{', '.join(closed_by_nobody)} of {model.name!r} {what}"))
    for member, asked in (settings.peak.members if settings.peak else {}).items():
        if what := unknown(member, context) or untaken(member, asked.port, context):
            problems.append((("peak", "members", member), what))
    if problems:
        raise PlaceError(problems)
