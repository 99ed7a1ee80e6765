"""The network between namespaces: `wire.py DELAY_MS LOSS SEED NAMESPACE=ADDRESS ...`.

On standard input it is told to `cut ADDRESS`.
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import os
import random
import select
import socket
import struct
import subprocess
import sys
import time
from itertools import count
from pathlib import Path

CLONE_NEWNET, TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x40000000, 0x400454CA, 0x0001, 0x1000


def opened(namespace: str, address: str) -> int:
    """Return a TUN device in the namespace, with this address."""
    libc, here = ctypes.CDLL(None, use_errno=True), os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(f"/var/run/netns/{namespace}", os.O_RDONLY)
    assert libc.setns(there, CLONE_NEWNET) == 0
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH", b"wire", IFF_TUN | IFF_NO_PI))
    assert libc.setns(here, CLONE_NEWNET) == 0
    for words in (["addr", "add", f"{address}/24", "dev", "wire"], ["link", "set", "wire", "up"]):
        subprocess.run(["ip", "-n", namespace, *words], check=True)
    return tun


def carry(delay_s: float, loss: float, seed: int, ends: dict[str, int]) -> None:
    """Pass packets on until standard input closes."""
    rng, number, cut = random.Random(seed), count(), set[str]()
    under_way: list[tuple[float, int, str, bytes]] = []
    while True:
        left_s = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
        ready, _, _ = select.select([sys.stdin.fileno(), *ends.values()], [], [], left_s)
        for fd in ready:
            if fd == sys.stdin.fileno():
                if not (said := os.read(fd, 1000).decode()):
                    return
                cut |= set(said.split()[1::2])
                continue
            packet = os.read(fd, 65536)
            source, target = socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20])
            if packet[0] >> 4 == 4 and target in ends and not {source, target} & cut and rng.random() >= loss:
                heapq.heappush(under_way, (time.monotonic() + delay_s, next(number), target, packet))
        while under_way and under_way[0][0] <= time.monotonic():
            _, _, target, packet = heapq.heappop(under_way)
            os.write(ends[target], packet)


def listeners() -> set[str]:
    """Return the addresses on which anything listens here."""
    found = set()
    for protocol, listening in (("tcp", "0A"), ("udp", "07"), ("tcp6", "0A"), ("udp6", "07")):
        for line in Path(f"/proc/net/{protocol}").read_text().splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            if state == listening:
                raw = bytes.fromhex(local.split(":")[0])
                found.add(socket.inet_ntoa(raw[::-1]) if len(raw) == 4 else raw.hex())
    return found


if __name__ == "__main__":
    if sys.argv[1:] == ["listeners"]:
        print(*listeners())
    else:
        devices = {address: opened(name, address) for name, address in (end.split("=") for end in sys.argv[4:])}
        print("ready", flush=True)
        carry(float(sys.argv[1]) / 1e3, float(sys.argv[2]), int(sys.argv[3]), devices)
