"""Make the history of the demand-response event: `python scenarios/profiles/make_history.py`.

What the members of scenarios/demand_response_event.json draw on ten days without an event: days like that of the event,
each with fleets that are drawn anew (seeds 101 to 110).
"""

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from threading import Event

import numpy as np
from numpy.typing import NDArray

from derloop.contract import Values
from derloop.engines import local
from derloop.engines.stepping import Stepper
from derloop.scenario.assembly import assemble
from derloop.scenario.loading import typed

PROFILES = Path(__file__).parent
SCENARIO = PROFILES.parent / "demand_response_event.json"
MEMBERS = ("homes", "tanks", "plant")
SEEDS = range(101, 111)
INTERVAL_S = 900

ABOUT = """\
# What the members of the demand-response event draw on ten days without one, means of 15 minutes.
# Source: derloop's own models, with seeds 101 to 110. Licence: as derloop.
# Script: make_history.py
# Units: time_s in s since local midnight; others in kW, positive when drawn.
"""


def main() -> None:
    days = [_day(seed) for seed in SEEDS]
    columns = {f"{m}_{k}_kw": day[m] for m in MEMBERS for k, day in enumerate(days, start=1)}
    times_s = np.arange(0, 86_400, INTERVAL_S)
    rows = [",".join(["time_s", *columns])]
    rows += [",".join([f"{t}", *(f"{kw[i]:.2f}" for kw in columns.values())]) for i, t in enumerate(times_s)]
    (PROFILES / "demand_response_history.csv").write_text(ABOUT + "\n".join(rows) + "\n")


def _day(seed: int) -> Mapping[str, NDArray[np.float64]]:
    """Return the mean powers (96,) of each member on one day."""
    said = json.loads(SCENARIO.read_text())
    said |= {"seed": seed, "checks": []}
    for absent in ("programme", "network"):
        del said["federates"][absent]
    for member in MEMBERS:
        said["federates"][member]["responds"] = False
    found: dict[str, list[float]] = defaultdict(list)

    def observe(federate: str, _: int, values: Values) -> None:
        if federate in MEMBERS:
            found[federate].append(float(values["p_kw"].sum()))

    scenario = typed(said, SCENARIO)
    federation = assemble(scenario)
    local.run([Stepper(federation, unit, observe, Event()) for unit in federation.units], scenario.until_ns)
    return {m: np.array(kw).reshape(96, -1).mean(axis=1) for m, kw in found.items()}


if __name__ == "__main__":
    main()
