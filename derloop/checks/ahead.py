"""What must be known of a run before it begins, and is no problem.

Checks that look beyond its end will conclude nothing: a run may be cut to a part of what its scenario is about.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from derloop.checks.window import NS, Windowed
from derloop.document import pointer
from derloop.errors import some_of
from derloop.federation import Federation
from derloop.scenario.models import Scenario
from derloop.scenario.unheard import unheard
from derloop.verdict import CheckEntry


def cautions(scenario: Scenario, federation: Federation) -> tuple[str, ...]:
    """Return what its federates, its checks and its wires make known of a run of a scenario."""
    ahead = beyond_the_end(scenario.checks, scenario.until_ns)
    return (*federation.cautions, *ahead, *unheard(scenario, federation))


def beyond_the_end(checks: Sequence[CheckEntry], until_ns: int) -> tuple[str, ...]:
    """Return what must be known of the checks of a run that ends at `until_ns`: nothing, or one caution."""
    found = [f"{where} ({check.name})" for where, check in _beyond(checks, until_ns, ("checks",))]
    if not found:
        return ()
    end = f"the run's end at {until_ns / NS:.15g} s"
    return (f"checks that look beyond {end} will be INCONCLUSIVE: {some_of(found)}",)


def _beyond(checks: Sequence[CheckEntry], until_ns: int, at: tuple[str | int, ...]) -> Iterator[tuple[str, CheckEntry]]:
    """Yield each check that needs a longer run, those within others too, with its JSON pointer."""
    for index, check in enumerate(checks):
        if isinstance(check.settings, Windowed) and check.settings.needs_ns > until_ns:
            yield pointer((*at, index)), check
        yield from _beyond(check.parts, until_ns, (*at, index, "of"))
