"""A control outside that is a federate of HELICS, joined over a broker of its own on this machine."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any, Final
from uuid import uuid4

import numpy as np

from derloop.contract import FloatArray
from derloop.errors import DerloopError
from federates.control.own.listening import Measured
from federates.control.own.ports import Site

HOST: Final = "127.0.0.1"
QUIET: Final = "--loglevel=no_print"
NAME: Final = "derloop"
POLL_S: Final = 0.002
LEAVE_MS: Final = 2000
"""How long the control may take to leave at the end."""
ANSWERS_WITHIN: Final = 0.5
"""Share of a step after which the answer of an instant is read."""


class OverHelics:
    """A control that is one federate of a HELICS federation of two; the other is this one.

    At the instant `t` the measurements are published, and at `t + step / 2` what has been answered is read.
    """

    def __init__(self, port: int, join_s: float, deadline_s: float) -> None:
        self._port, self._join_s, self._deadline_s = port, join_s, deadline_s
        self._name = f"derloop-control-{uuid4().hex}"
        self._broker: Any = None
        self._federate: Any = None
        self._published: dict[str, Any] = {}
        self._subscribed: dict[str, Any] = {}
        self._half_s, self._is_under_way = 0.0, False

    @property
    def _address(self) -> str:
        return f"tcp://{HOST}:{self._port}"

    def begin(self, site: Site) -> None:
        """Open the broker and wait until the control has joined. Raises: DerloopError."""
        import helics as h

        self._half_s = site.step_s * ANSWERS_WITHIN
        options = f"-f 2 {QUIET} --local_interface=tcp://{HOST} --localport={self._port}"
        try:
            self._broker = h.helicsCreateBroker("zmq", f"{self._name}-broker", options)
            if not h.helicsBrokerIsConnected(self._broker):
                raise DerloopError(f"{self._address} cannot be listened at; is the port taken?")
            self._join(site)
        except h.HelicsException as error:
            raise DerloopError(f"{self._address}: HELICS cannot open it: {error}") from error

    def _join(self, site: Site) -> None:
        import helics as h

        info = h.helicsCreateFederateInfo()
        h.helicsFederateInfoSetCoreName(info, self._name)  # or HELICS takes any core of the process that has room
        h.helicsFederateInfoSetCoreTypeFromString(info, "zmq")
        h.helicsFederateInfoSetCoreInitString(info, f"-f 1 {QUIET} --broker_address={self._address}")
        h.helicsFederateInfoSetFlagOption(info, h.HELICS_FLAG_UNINTERRUPTIBLE, 1)
        self._federate = h.helicsCreateValueFederate(NAME, info)
        vector = h.HELICS_DATA_TYPE_VECTOR
        for name in site.reads:
            unit = site.units[name]
            self._published[name] = h.helicsFederateRegisterGlobalPublication(self._federate, name, vector, unit)
        for name in site.writes:
            self._subscribed[name] = h.helicsFederateRegisterSubscription(self._federate, name, "")
        h.helicsFederateEnterExecutingModeAsync(self._federate)
        self._await(self._join_s, f"no control has joined at {self._address} within join_s, {self._join_s:g} s")
        h.helicsFederateEnterExecutingModeComplete(self._federate)
        for name, subscribed in self._subscribed.items():
            said, unit = h.helicsInputGetInjectionUnits(subscribed), site.units[name]
            if said not in ("", unit):  # HELICS converts no vectors
                raise DerloopError(f"{self._address}: {name} is published in {said!r}, and must be in {unit!r}")

    def answer(self, now_s: float, measured: Measured) -> object:
        """Publish what was measured, and return what is answered. Raises: DerloopError where nothing is."""
        import helics as h

        try:
            self._advance(h, now_s)
            for name, values in measured.items():
                h.helicsPublicationPublishVector(self._published[name], values.tolist())
            self._advance(h, now_s + self._half_s)
            return self._heard(h)
        except h.HelicsException as error:
            raise DerloopError(f"{self._address}: HELICS failed: {error}") from error

    def _heard(self, h: Any) -> dict[str, FloatArray]:
        new = {name: s for name, s in self._subscribed.items() if h.helicsInputIsUpdated(s)}
        if not new:
            raise DerloopError(f"the control at {self._address} has answered nothing; has it left?")
        found = {name: np.asarray(h.helicsInputGetVector(s), dtype=np.float64) for name, s in new.items()}
        return {name: values[0] if values.size == 1 else values for name, values in found.items()}

    def _advance(self, h: Any, to_s: float) -> None:
        h.helicsFederateRequestTimeAsync(self._federate, to_s)
        self._await(self._deadline_s, f"no answer of {self._address} within deadline_s, {self._deadline_s:g} s")
        h.helicsFederateRequestTimeComplete(self._federate)

    def _await(self, most_s: float, otherwise: str) -> None:
        """Return when what was begun is complete. Raises: DerloopError, `otherwise`."""
        import helics as h

        self._is_under_way = True  # and stays so where it is given up: such a federate cannot be let go of in order
        deadline = time.monotonic() + most_s
        while not h.helicsFederateIsAsyncOperationCompleted(self._federate):
            if time.monotonic() > deadline:
                raise DerloopError(otherwise)
            time.sleep(POLL_S)
        self._is_under_way = False

    def end(self) -> None:
        """Leave: the control is granted the end of time, and ends too. One that does not is not waited for."""
        import helics as h

        federate, broker, self._federate, self._broker = self._federate, self._broker, None, None
        with suppress(h.HelicsException):  # it has ended with its federation
            if federate is not None and not self._is_under_way:
                h.helicsFederateDisconnect(federate)
                h.helicsBrokerWaitForDisconnect(broker, LEAVE_MS)
        with suppress(h.HelicsException):
            if broker is not None:
                h.helicsBrokerDisconnect(broker)
