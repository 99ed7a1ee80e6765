"""What no verdict can rest on where a device's commands did not show: it may not have done what it acknowledged."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from derloop.checks.spells import doubted, spells
from derloop.errors import some_of
from derloop.federation import Federation
from derloop.results.store import RunFolder
from derloop.verdict import Doubt


def unproven(federation: Federation, run: RunFolder) -> list[Doubt]:
    """Return a doubt for each spell in which a federate said, by its output `unproven`, that commands do not show."""
    return [
        doubt
        for name, interface in federation.interfaces.items()
        if "unproven" in interface.outputs and interface.outputs["unproven"].size
        for doubt in _of_one(federation, run, name)
    ]


def _of_one(federation: Federation, run: RunFolder, name: str) -> Iterator[Doubt]:
    labels = federation.interfaces[name].outputs["unproven"].labels
    time_ns, values = run.read(f"{name}.unproven")
    for spell in spells(values.max(axis=1, initial=0.0) > 0):
        who = [repr(labels[i]) for i in np.flatnonzero(values[spell].max(axis=0) > 0)]
        what = f"what was commanded does not show at {some_of(who, 3)}"
        yield doubted(federation, name, time_ns[spell], what, run.calendar)
