"""Where the hosts of a run connect. Whoever does not know the token comes no further."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from threading import Lock, Semaphore, Thread
from time import sleep

from derloop.errors import DerloopError
from derloop.hosts.channel import Channel, Malformed
from derloop.hosts.greeting import admit

GREETING_AT_ONCE = 32
"""How many connections may be greeting: whoever connects and says nothing keeps none of the others out."""
AGAIN_S = 0.1


def check_free(address: str, port: int) -> None:
    """Raise DerloopError where hosts could not find a run there: the address is another machine's, or the port taken.

    port: 0 for one that is free.
    """
    with _listening(address, port):
        pass


def _listening(address: str, port: int) -> socket.socket:
    try:
        return socket.create_server((address, port))
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)  # Python's own text has the address again
        at = f"{address}:{port}" if port else address
        raise DerloopError(f"cannot listen on {at}: {why}") from error


class Door:
    """A listening socket, and a thread that greets whoever comes."""

    def __init__(self, address: str, port: int, token: str) -> None:
        self._listener = _listening(address, port)
        self.port: int = self._listener.getsockname()[1]
        self.refused: list[str] = []
        self._token, self._places = token, Semaphore(GREETING_AT_ONCE)
        self._lock = Lock()
        self._arrived: list[Channel] = []
        self._is_closed = False
        self._thread = Thread(target=self._listen, name="derloop door", daemon=True)
        self._thread.start()

    def arrived(self) -> list[Channel]:
        """Return the hosts that have come since this was called last."""
        with self._lock:
            found, self._arrived = self._arrived, []
        return found

    def _listen(self) -> None:
        while True:
            try:
                sock, (address, *_) = self._listener.accept()
            except OSError:
                if self._is_closed:
                    return
                sleep(AGAIN_S)  # as where there are no more open files: others close theirs
                continue
            if not self._places.acquire(blocking=False):
                sock.close()
                continue
            Thread(target=self._greet, args=(sock, str(address)), name="derloop greeting", daemon=True).start()

    def _greet(self, sock: socket.socket, address: str) -> None:
        try:
            _, channel = admit(sock, self._token)
        except (Malformed, OSError) as error:
            sock.close()
            self._note(f"a connection from {address} was not let in: {error}")
        else:
            with self._lock:
                self._arrived.append(channel)
                is_late = self._is_closed
            if is_late:
                channel.close()
        finally:
            self._places.release()

    def _note(self, refused: str) -> None:
        """Keep why somebody was refused, each reason once."""
        with self._lock:
            if len(self.refused) < GREETING_AT_ONCE and refused not in self.refused:
                self.refused.append(refused)

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
        with suppress(OSError):  # nobody is connecting
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for channel in self.arrived():
            channel.close()
