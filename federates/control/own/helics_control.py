"""Kind `helics-control`: a control of the user's that is a process of its own, and a federate of HELICS.

derloop opens a broker at `tcp://127.0.0.1:PORT` for two federates: `derloop`, and the control, which joins with a
ZeroMQ core and any name. What it `reads` are global publications of `derloop`, vectors called as in the scenario
(`grid.head_kw`), with their units; what it `writes` are global publications of the control, vectors called so too:

```python
import helics as h

info = h.helicsCreateFederateInfo()
h.helicsFederateInfoSetCoreTypeFromString(info, "zmq")
h.helicsFederateInfoSetCoreInitString(info, "-f 1 --broker_address=tcp://127.0.0.1:23500")
fed = h.helicsCreateValueFederate("control", info)
head = h.helicsFederateRegisterSubscription(fed, "grid.head_kw", "kW")
setpoint = h.helicsFederateRegisterGlobalPublication(
    fed, "battery.p_set_kw", h.HELICS_DATA_TYPE_VECTOR, "kW"
)
h.helicsFederateEnterExecutingMode(fed)
while h.helicsFederateRequestTime(fed, h.HELICS_TIME_MAXTIME) < h.HELICS_TIME_MAXTIME:
    head_kw = h.helicsInputGetVector(head)[0]
    h.helicsPublicationPublishVector(setpoint, [max(head_kw - 20.0, 0.0)])
h.helicsFederateDisconnect(fed)
```

At the instant `t` (HELICS's time `t`, in seconds since the start) the last measurements before it are published; what
the control has published by `t` plus half a step is its answer. A vector of one element stands for all. A publication
that is not made stays as it was; an instant of which nothing at all is answered ends the run in this federate's name,
as does a control that has not joined within `join_s` or does not let HELICS go on within `deadline_s`. At the end, or
after a failure, the control is granted the end of HELICS's time.

This federation has nothing to do with the one that moves the run, so it is the same under every engine. A scenario that
opens a port is not let do so by itself: `--trust-control`. Whoever is on this machine can join.
"""

from __future__ import annotations

from pydantic import Field

from derloop.kind import Context, Kind
from federates.control.own.listening import Listening, listening, require_trust
from federates.control.own.outside import OverHelics
from federates.control.own.ports import OwnPorts


class HelicsControlSettings(OwnPorts):
    """A control of the user's over HELICS."""

    port: int = Field(
        default=23500, ge=1024, le=65500, description="TCP port of the broker on 127.0.0.1; the next one is used too."
    )
    join_s: float = Field(
        default=20.0,
        gt=0,
        le=3600,
        description="How long the control may take to join, s; deadlines.join_s ends it too.",
    )
    deadline_s: float = Field(default=10.0, gt=0, le=3600, description="Longest time for one answer, s.")


def build(settings: HelicsControlSettings, context: Context) -> Listening:
    """Return the control. Raises: PlaceError where it is not allowed, or nobody has what it names."""
    require_trust(context, "port", f"a process at port {settings.port} is code of another's")
    control = OverHelics(settings.port, settings.join_s, settings.deadline_s)
    return listening(control, settings, context, waits=True)


KIND = Kind(
    "helics-control",
    "A control of your own: a process that joins over HELICS",
    HelicsControlSettings,
    build,
    listens=True,
)
