"""What keeping every frame costs, and reading them again.

    python benchmarks/frames.py [--frames 200000]

Frames are the request and the answer of 125 registers, in turn. `note` is the processor's time of whoever sends or
receives; `in all` has the thread that writes, too. Compare them with an exchange (`benchmarks/modbus.py`).
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from hil.frames.capture import export
from hil.frames.evidence import JournalFile
from hil.frames.exchanges import exchanges
from hil.frames.journal import Journal
from hil.frames.layout import Peer
from hil.modbus import pdu
from hil.modbus.framing import MBAP, Frame

HERE = Path(__file__).parent
PEER = Peer("inverter", 1, "tcp", "127.0.0.1", 502)
BATCH = 2000


def frames() -> Iterator[tuple[bytes, bytes]]:
    """Yield requests with their answers, for ever."""
    request = pdu.request_bytes(pdu.read(40000, 125))
    answer = pdu.registers_answer(3, range(125))
    while True:
        for transaction in range(1 << 16):
            yield MBAP.pack(Frame(1, request, transaction)), MBAP.pack(Frame(1, answer, transaction))


def noted(path: Path, count: int) -> tuple[float, float, float]:
    """Return what a note costs, us of the processor: best and median over batches, and the mean with the writing."""
    made = [pair for pair, _ in zip(frames(), range(BATCH // 2), strict=False)]
    costs = []
    with Journal(path) as journal:
        tap = journal.tap(PEER)
        before = time.process_time()
        for _ in range(count // BATCH):
            began = time.thread_time()
            for request, answer in made:
                tap("sent", request)
                tap("received", answer)
            costs.append((time.thread_time() - began) / BATCH * 1e6)
        journal.flush()
        in_all = (time.process_time() - before) / count * 1e6
    return min(costs), sorted(costs)[len(costs) // 2], in_all


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=200_000)
    count = parser.parse_args().frames // BATCH * BATCH
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.frames"
        best, middle, in_all = noted(path, count)
        size = path.stat().st_size / count
        began = time.process_time()
        found = len(exchanges(JournalFile(path).entries()))
        read = (time.process_time() - began) / count * 1e6
        began = time.process_time()
        with (Path(folder) / "a.pcapng").open("wb") as file:
            export(JournalFile(path).entries(), file)
        exported = (time.process_time() - began) / count * 1e6
    assert found == count // 2
    result = {
        "frames": count,
        "note_us": {"best": round(best, 2), "median": round(middle, 2), "in_all": round(in_all, 2)},
        "bytes_each": round(size, 1),
        "read_us": round(read, 2),
        "export_us": round(exported, 2),
        "when": datetime.now().isoformat(timespec="seconds"),
        "machine": platform.platform(),
        "python": platform.python_version(),
    }
    print(
        f"{count} frames: noted in {best:.2f} us each (median {middle:.2f}, in all {in_all:.2f}), {size:.0f} bytes each"
    )
    print(f"read as exchanges in {read:.2f} us each, exported as a capture in {exported:.2f} us each")
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "frames.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
