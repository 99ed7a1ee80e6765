"""Stands for `derloop run` in tests of sweeps: ends as its scenario's setting `ends` says, and notes that it ran.

Usage: trial_program.py run SCENARIO --set=ends="..." --out=FOLDER ...
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

LEAVES = {"passes": "PASS", "fails": "FAIL", "hangs": "PASS"}


def main() -> None:
    scenario = Path(sys.argv[2])
    settings = dict(word[6:].split("=", 1) for word in sys.argv if word.startswith("--set="))
    out = Path(next(word[6:] for word in sys.argv if word.startswith("--out=")))
    out.mkdir()
    with (scenario.parent / "ran.txt").open("a") as ran:
        ran.write(f"{settings['description']}\n")
    (out / "run.json").write_text('{"outcome": "running"}')
    behave(json.loads(settings["description"]), out)


def behave(how: str, out: Path) -> None:
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "crashes":
        sys.exit("Traceback ...\nMemoryError")
    elif how == "refuses":
        sys.stderr.write("derloop: scenario: 1 problem\n  /x: is wrong\n")
        sys.exit(2)
    elif how == "federate fails":
        leave(out, "failed", failure={"federate": "grid", "why": "no solution"})
        sys.exit(3)
    elif how == "hangs":
        signal.signal(signal.SIGINT, lambda *_: (leave(out, "interrupted"), os._exit(130)))
        (out / "is_up").touch()
        time.sleep(60)
    leave(out, "completed", verdict=LEAVES[how])


def leave(out: Path, outcome: str, verdict: str = "PASS", **more: object) -> None:
    figures = [{"label": "peak", "value": 12.5, "unit": "kW", "text": "12.5 kW"}]
    check = {"check": "peak", "kind": "peak", "outcome": verdict, "text": "so", "measured": 12.5, "limit": 12.0}
    (out / "verdicts.json").write_text(json.dumps([{**check, "margin": -0.5, "unit": "kW"}]))
    (out / "run.json").write_text(json.dumps({"outcome": outcome, "summary": figures, "wall_s": 1.0, **more}))


if __name__ == "__main__":
    main()
