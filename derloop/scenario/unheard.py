"""What can be told of outputs before a run: those that are called as an input of another, which that does not have.

A feeder offers every fleet more than it may want to hear; whoever else names a federate in an output means to tell it
something. That is a caution and no problem: an output may be there to be recorded.
"""

from __future__ import annotations

from collections.abc import Iterator

from derloop.errors import did_you_mean, some_of
from derloop.federation import Federation
from derloop.scenario.models import Scenario
from derloop.wires import Ref


def unheard(scenario: Scenario, federation: Federation) -> tuple[str, ...]:
    """Return what must be known of outputs that reach nobody: nothing, or one caution."""
    found = [*_unheard(scenario, federation)]
    if not found:
        return ()
    return (f"outputs that nobody hears: {some_of(found)}",)


def _unheard(scenario: Scenario, federation: Federation) -> Iterator[str]:
    """Yield each output that names an input which is not there, and why nobody hears it."""
    heard, interfaces = {wire.source for wire in federation.wires}, federation.interfaces
    for name, interface in interfaces.items():
        for output in interface.outputs if scenario.federates[name].kind.place is None else ():
            other, _, port = output.partition(".")
            if port and other in interfaces and Ref(name, output) not in heard:
                inputs = [*interfaces[other].inputs]
                yield f"{name}.{output} ({other!r} has no input {port!r}{did_you_mean(port, inputs)})"
