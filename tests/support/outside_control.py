"""A control that is a process of its own: joins over HELICS at the port of its first argument.

With a second argument it answers so many times and then leaves; with "hang" after it, it stays and says nothing more.
With a fourth it says that what it gives is in that unit.
"""

from __future__ import annotations

import sys
import time

import helics as h


def main(port: str, most: str = "1000000", then: str = "leave", unit: str = "kW") -> None:
    info = h.helicsCreateFederateInfo()
    h.helicsFederateInfoSetCoreTypeFromString(info, "zmq")
    h.helicsFederateInfoSetCoreInitString(info, f"-f 1 --loglevel=no_print --broker_address=tcp://127.0.0.1:{port}")
    fed = h.helicsCreateValueFederate("control", info)
    head = h.helicsFederateRegisterSubscription(fed, "grid.head_kw", "kW")
    setpoint = h.helicsFederateRegisterGlobalPublication(fed, "batteries.p_set_kw", h.HELICS_DATA_TYPE_VECTOR, unit)
    h.helicsFederateEnterExecutingMode(fed)
    given_kw = 0.0
    for _ in range(int(most)):
        if h.helicsFederateRequestTime(fed, h.HELICS_TIME_MAXTIME) >= h.HELICS_TIME_MAXTIME:
            break
        given_kw = max(h.helicsInputGetVector(head)[0] + given_kw - 20.0, 0.0)
        h.helicsPublicationPublishVector(setpoint, [given_kw / 2, given_kw / 2])
    if then == "hang":
        time.sleep(60)
    h.helicsFederateDisconnect(fed)


if __name__ == "__main__":
    main(*sys.argv[1:])
