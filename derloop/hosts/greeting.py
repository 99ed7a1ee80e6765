"""How a run and a host come to know each other: both prove that they have the same token, which is never sent.

    host -> run   16 bytes: magic | 40 bytes: the host's name, padded by zeros | 32 bytes: nonce a
    run -> host   32 bytes: nonce b | 32 bytes: HMAC(token, "run" | all before)
    host -> run   32 bytes: HMAC(token, "host" | all before)

The keys of the connection follow from token, name and both nonces, so that no recorded connection can be replayed.
"""

from __future__ import annotations

import errno
import hmac
import os
import re
import secrets
import socket
import stat
from contextlib import suppress
from pathlib import Path
from time import monotonic

from derloop.errors import DerloopError
from derloop.hosts.channel import Channel, Keys, Malformed

GREET_S = 5.0
"""How long a greeting may take, however slowly it trickles."""
MAGIC = b"derloop-hosts-01"
NAME_BYTES, NONCE_BYTES, PROOF_BYTES = 40, 32, 32
TOKEN = re.compile(r"[0-9a-zA-Z_\-]{32,200}")
TOKEN_VARIABLE = "DERLOOP_TOKEN"  # noqa: S105 - the name of the variable, not a token


class HungUp(ConnectionError):
    """Whoever was greeted has ended the connection before it was done."""


def make_token() -> str:
    return secrets.token_hex(32)


def read_token(path: Path | None, heard: str | None = None) -> str:
    """Return the token in `path`, else `heard`; raise DerloopError where it is none, or where others may read it."""
    text = heard if path is None else _kept_token(path)
    if text is None:
        raise DerloopError(f"a token is needed: --token-file FILE, or the variable {TOKEN_VARIABLE}")
    if not TOKEN.fullmatch(text.strip()):
        what = "a token has 32 letters, digits, - and _ or more; `openssl rand -hex 32` makes one"
        raise DerloopError(what if path is None else f"{path} holds no token: {what}")
    return text.strip()


def _kept_token(path: Path) -> str:
    try:
        if path.is_dir():
            raise DerloopError(f"{path} is a folder, and no file that holds a token")
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise DerloopError(f"{path} may be read by others, and holds a token: chmod 600 {path}")
        return path.read_text(encoding="ascii")
    except (OSError, ValueError) as error:
        raise DerloopError(f"the token in {path} cannot be read: {error}") from error


def keep_token(path: Path, token: str) -> None:
    """Write a new token where only its owner can read it."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(token + "\n")


def admit(sock: socket.socket, token: str) -> tuple[str, Channel]:
    """Return the name of the host that has connected, and the channel to it; raise Malformed where it is none."""
    sock.settimeout(GREET_S)
    until = monotonic() + GREET_S
    hello = _receive(sock, len(MAGIC) + NAME_BYTES + NONCE_BYTES, until)
    if not hello.startswith(MAGIC):
        raise Malformed("it does not greet as a host of this version does")
    said = hello + secrets.token_bytes(NONCE_BYTES)
    said += _proof(token, b"run", said)
    sock.sendall(said[len(hello) :])
    try:
        proof = _receive(sock, PROOF_BYTES, until)
    except HungUp as error:
        raise Malformed("it hung up on this run's proof: it has another token, or none") from error
    if not hmac.compare_digest(proof, _proof(token, b"host", said)):
        raise Malformed("it does not know the token")
    name = hello[len(MAGIC) :][:NAME_BYTES].rstrip(b"\0").decode("ascii", "replace")
    return name, Channel(sock, Keys(_key(token, b"to host", said), _key(token, b"to run", said)), name)


def approach(sock: socket.socket, token: str, name: str) -> Channel:
    """Return the channel to the run that listens at the other end; raise Malformed where it does not know the token.

    Raises HungUp where nobody answers, as one does who has too many to greet.
    """
    sock.settimeout(GREET_S)
    hello = MAGIC + name.encode("ascii").ljust(NAME_BYTES, b"\0") + secrets.token_bytes(NONCE_BYTES)
    sock.sendall(hello)
    answer = _receive(sock, NONCE_BYTES + PROOF_BYTES, monotonic() + GREET_S)
    said = hello + answer
    if not hmac.compare_digest(answer[NONCE_BYTES:], _proof(token, b"run", hello + answer[:NONCE_BYTES])):
        raise Malformed("the run does not know the token")
    sock.sendall(_proof(token, b"host", said))
    return Channel(sock, Keys(_key(token, b"to run", said), _key(token, b"to host", said)), "run")


def _proof(token: str, who: bytes, said: bytes) -> bytes:
    return hmac.digest(token.encode(), who + b"\0" + said, "sha256")


def _key(token: str, direction: bytes, said: bytes) -> bytes:
    return hmac.digest(token.encode(), b"key " + direction + b"\0" + said, "sha256")


def _receive(sock: socket.socket, count: int, until: float) -> bytes:
    data = b""
    while len(data) < count:
        if (left_s := until - monotonic()) <= 0.0:
            raise Malformed(f"it has not greeted within {GREET_S:g} s")
        sock.settimeout(left_s)
        with suppress(TimeoutError):
            if not (got := sock.recv(count - len(data))):
                raise HungUp(errno.ECONNRESET, "it hung up")
            data += got
    return data
