"""A fleet's model behind real Modbus servers, spoken to as equipment is.

`"via": "emulator"`: each device of the fleet is a SunSpec server on a free port of 127.0.0.1, in lock-step with
simulated time; what is exchanged in a step is in `hil.fleet.lockstep`. The federate offers what a device can tell:
`p_kw`, `q_kvar`, and for a storage `soc_pu`, `stored_kwh`, `p_max_kw` and `p_min_kw`. `"via": "emulator:FILE"` takes
transport and quirks from an emulator file in the scenario's folder.

`"via": "served"`: the same servers on the clock of the wall, for clients from outside (`hil.fleet.served`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from derloop.contract import Federate
from derloop.errors import ScenarioError, did_you_mean
from derloop.kind import Context, PlaceError, Settings, Terminal
from hil.fleet.emulated import EmulatedFleet
from hil.fleet.model import InverterModel, connections, with_inverters

if TYPE_CHECKING:
    from hil.fleet.served import OpenFleet
    from hil.serving.file import FleetEntry


def emulator(
    model: Federate, settings: Settings, terminals: tuple[Terminal, ...], argument: str, context: Context
) -> EmulatedFleet:
    """Put `model` behind Modbus servers in lock-step; `argument`, if any, is an emulator file that says how.

    Raises PlaceError for a model that cannot be steered through registers, and for a file that is wrong.
    """
    del settings
    entry = _entry(argument, context, others_too=False)
    _refuse_misfits(with_inverters(model), terminals, argument, entry, context)
    return EmulatedFleet(with_inverters(model), terminals, context, entry)


def served(
    model: Federate, settings: Settings, terminals: tuple[Terminal, ...], argument: str, context: Context
) -> OpenFleet:
    """Put `model` behind Modbus servers on the clock of the wall, for clients from outside to command.

    Raises PlaceError as `emulator` does.
    """
    from hil.fleet.served import OpenFleet

    del settings
    entry = _entry(argument, context, others_too=True)
    _refuse_misfits(with_inverters(model), terminals, argument, entry, context)
    return OpenFleet(with_inverters(model), terminals, connections(terminals, context), entry)


def _refuse_misfits(
    model: InverterModel, terminals: tuple[Terminal, ...], argument: str, entry: FleetEntry, context: Context
) -> None:
    """Raise PlaceError for devices that are not there, and for profiles that do not fit those that are."""
    labels = [terminal.label for terminal in terminals]
    if strangers := entry.strangers(labels):
        where = f"{argument}/fleets/{context.name}"
        raise PlaceError([(("via",), f"{where}{each.pointer}: {each.what}") for each in strangers])
    profiles = entry.profiles_for(labels)
    if not any(profile.model_fields_set for profile in profiles):
        return
    from hil.fleet.registered import RegisteredFleet

    fleet = RegisteredFleet(model, terminals, connections(terminals, context), profiles)
    if misfits := fleet.misfits():
        raise PlaceError([(("via",), f"{argument}/fleets/{context.name}/profile: {each}") for each in misfits])


def _entry(argument: str, context: Context, *, others_too: bool) -> FleetEntry:
    """Return how the emulator file `argument` has this fleet served; plainly where none is named.

    others_too: a fleet that the file does not name is served plainly, if the file names none.
    """
    from hil.serving.file import FleetEntry, read_inside

    if not argument:
        return FleetEntry()
    try:
        fleets = read_inside(argument, context.folder).fleets
    except ScenarioError as error:
        raise PlaceError([(("via",), f"{argument}{p.pointer}: {p.what}") for p in error.problems]) from error
    if context.name in fleets:
        return fleets[context.name]
    if others_too and not fleets:
        return FleetEntry()
    what = f"{argument} has no fleet {context.name!r}{did_you_mean(context.name, tuple(fleets))}"
    raise PlaceError([(("via",), what)])
