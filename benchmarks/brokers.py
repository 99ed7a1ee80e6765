"""Whether brokers in a hierarchy help: a step of N machines, one HELICS federate each, with one level and with two.

    python benchmarks/brokers.py

As derloop has machines: each is one federate, whatever number of processes it has, which gives the others one vector a
step and hears one of each. *flat*: every core reaches the one broker. *hierarchy*: every machine has a broker of its
own below that one. Processes on loopback, in turns; ms a step, the median over the steps, then over the rounds.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Sequence
from statistics import median
from time import perf_counter

import helics
import numpy as np

from derloop.engines.broker import LOOPBACK, core_options, opened

CORE_TYPE = "zmq"
STEPS, WARM, ROUNDS = 300, 60, 3
SIZES = (2, 4, 8, 16)


def machine(number: int, count: int, port: int, own_port: int, said: multiprocessing.Queue[list[float]]) -> None:
    """Be one machine. own_port: of a broker of its own below the one at `port`; 0: it has none."""
    sub, options = None, core_options(LOOPBACK, port, LOOPBACK)
    if own_port:
        above = f"--federates=1 --brokeraddress=tcp://{LOOPBACK} --brokerport={port} --localport={own_port}"
        sub, options = (
            helics.helicsCreateBroker(CORE_TYPE, f"sub{number}", above),
            core_options(LOOPBACK, own_port, LOOPBACK),
        )
    info = helics.helicsCreateFederateInfo()
    helics.helicsFederateInfoSetCoreTypeFromString(info, CORE_TYPE)
    helics.helicsFederateInfoSetCoreInitString(info, f"--federates=1 {options}")
    helics.helicsFederateInfoSetTimeProperty(info, helics.HELICS_PROPERTY_TIME_PERIOD, 1.0)
    federate = helics.helicsCreateValueFederate(f"machine{number}", info)
    given = helics.helicsFederateRegisterGlobalPublication(federate, f"x{number}", helics.HELICS_DATA_TYPE_VECTOR, "")
    heard = [helics.helicsFederateRegisterSubscription(federate, f"x{i}", "") for i in range(count) if i != number]
    helics.helicsFederateEnterExecutingMode(federate)
    at, values = [perf_counter()], np.zeros(100)
    for step in range(STEPS):
        helics.helicsPublicationPublishVector(given, (values + step).tolist())
        helics.helicsFederateRequestTime(federate, step + 1.0)
        for each in heard:
            helics.helicsInputGetVector(each)
        at.append(perf_counter())
    helics.helicsFederateDisconnect(federate)
    helics.helicsFederateFree(federate)
    if sub is not None:
        helics.helicsBrokerWaitForDisconnect(sub, 5000)
    said.put(np.diff(at)[WARM:].tolist())
    helics.helicsCloseLibrary()


def step_ms(count: int, is_flat: bool) -> float:
    """Return the median step of so many machines, ms."""
    context = multiprocessing.get_context("spawn")
    said: multiprocessing.Queue[list[float]] = context.Queue()
    broker, port = opened(count, CORE_TYPE, LOOPBACK)
    own = [0 if is_flat else port + 1000 + 20 * i for i in range(count)]
    processes = [context.Process(target=machine, args=(i, count, port, own[i], said)) for i in range(count)]
    for process in processes:
        process.start()
    found = [median(said.get(timeout=120)) for _ in processes]
    for process in processes:
        process.join()
    broker.close()
    return 1000 * median(found)


def main(sizes: Sequence[int]) -> None:
    print("| machines | flat, ms a step | hierarchy | times |\n|---|---|---|---|")
    for count in sizes:
        turns = [(step_ms(count, True), step_ms(count, False)) for _ in range(ROUNDS)]
        flat, below = (median(each) for each in zip(*turns, strict=True))
        print(f"| {count} | {flat:.3g} | {below:.3g} | {below / flat:.2f} |", flush=True)


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or SIZES)
