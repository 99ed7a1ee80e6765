"""How a process of the naive federation takes part: a federate and a core of its own over ZeroMQ."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import helics


def job() -> dict[str, Any]:
    """Return what this process has been told."""
    said: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    return said


def joined(name: str, port: int, *, waits: bool) -> helics.HelicsValueFederate:
    """Return a federate with steps of 1. One that `waits` is granted an instant when all others have acted in it."""
    info = helics.helicsCreateFederateInfo()
    helics.helicsFederateInfoSetCoreTypeFromString(info, "zmq")
    helics.helicsFederateInfoSetCoreInitString(info, f"--federates=1 --brokerport={port} --timeout=120s")
    helics.helicsFederateInfoSetTimeProperty(info, helics.HELICS_PROPERTY_TIME_PERIOD, 1.0)
    helics.helicsFederateInfoSetFlagOption(info, helics.HELICS_FLAG_UNINTERRUPTIBLE, True)
    helics.helicsFederateInfoSetFlagOption(info, helics.HELICS_FLAG_WAIT_FOR_CURRENT_TIME_UPDATE, waits)
    return helics.helicsCreateValueFederate(name, info)


def published(federate: helics.HelicsValueFederate, *names: str) -> list[helics.HelicsPublication]:
    """Return a publication of one number for each name."""
    kind = helics.HELICS_DATA_TYPE_DOUBLE
    return [helics.helicsFederateRegisterGlobalPublication(federate, name, kind, "") for name in names]


def subscribed(federate: helics.HelicsValueFederate, *names: str) -> list[helics.HelicsInput]:
    """Return a subscription to each name."""
    return [helics.helicsFederateRegisterSubscription(federate, name, "") for name in names]
