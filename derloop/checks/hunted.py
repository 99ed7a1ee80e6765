"""What no verdict can rest on in a fork: what was given before it by federates that hunted over a delayed wire."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from derloop.results.store import RunFolder
from derloop.verdict import Doubt

Known = tuple[str, str, int]
"""The signal of a wire over which is hunted, who reads it, and since when, ns."""


def hunted(run: RunFolder, at_ns: int, known: Collection[Known]) -> list[dict[str, Any]]:
    """Return who hunted in `run` before its instant `at_ns`, as events of a fork: with `until_ns`.

    known: who is found to hunt in the fork itself, whose wires it still has.
    """
    found: dict[Known, dict[str, Any]] = {}
    for event in run.events:
        if event.get("what") == "hunting" and event["since_ns"] < at_ns:
            where = f"in {run.path.name}, until {run.calendar.at(at_ns)}: {event['text']}"
            own = {"until_ns": at_ns, "text": where} if "until_ns" not in event else {}
            said = {key: value for key, value in event.items() if key not in ("what", "time")}
            found[event["signal"], event["target"], event["since_ns"]] = said | own
    return [said for key, said in found.items() if key not in known]


def doubt(said: dict[str, Any]) -> Doubt:
    """Return the doubt that follows from one of them."""
    return Doubt(said["text"], said["since_ns"], tuple(said["affected"]), said["until_ns"])
