"""What of a run is paid for services: who took part, as the run kept it, and what was recorded of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from derloop.contract import FloatArray
from derloop.errors import DerloopError
from derloop.results.store import RunFolder
from derloop.validation import read_model
from federates.market.billing import Billing
from federates.market.commands.recorded import performance_of, series_of
from federates.market.enrolment import Enrolled
from federates.market.regulated import Regulated, regulated
from federates.market.retail import KEPT, SERVICES
from federates.market.schedule import IntArray, Run
from federates.market.settlement import DEMAND_RESPONSE, REGULATION, Settlement
from federates.market.value.series import WHOLE


def settlement_of(run: RunFolder, meter: str, over: Run) -> Settlement | None:
    """Return what is settled of a run's tariff, None if nobody takes part in any service.

    Raises DerloopError where what a score needs was not recorded.
    """
    path = run.path / KEPT / f"{meter}{SERVICES}"
    if not path.exists():
        return None
    enrolled = read_model(Enrolled, path)
    plant = enrolled.regulation and enrolled.regulation.plant
    return Settlement(enrolled, over.start, _regulated(run, meter, plant) if plant else None)


def unpaid(billing: Billing) -> Iterator[str]:
    """Yield what a tariff pays and nobody takes part in, and what customers take part in and it does not pay."""
    tariff, settled = billing.tariff, billing.settlement
    services = {
        DEMAND_RESPONSE: (tariff.demand_response, settled and settled.enrolled.demand_response),
        REGULATION: (tariff.regulation, settled and settled.enrolled.regulation),
    }
    for service, (price, taken) in services.items():
        if price is not None and taken is None:
            yield f"{service}: no customer takes part, though {tariff.name} pays for it"
        elif price is None and taken is not None:
            yield f"{service}: {tariff.name} pays nothing for it"


def _regulated(run: RunFolder, meter: str, plant: str) -> Regulated:
    asked, given = f"{plant}.signal_kw", f"{plant}.response_kw"
    try:
        signal, found = series_of(run, asked, "kW"), performance_of(run, asked, given)
    except DerloopError as error:
        what = f"{run.path}: /federates/{meter}/regulation/plant: without a score nothing is paid"
        raise DerloopError(f"{what}: {error}") from error

    def scores(hours: IntArray) -> FloatArray:
        return np.array([found.get(int(hour), 0.0) for hour in hours])

    return regulated(signal.time_ns, signal.values, signal.step_ns, signal.within(WHOLE), scores)
