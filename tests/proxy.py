"""A TCP proxy before a real server that fails in the ways that networks and servers do."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Proxy:
    """Forwards to *target*; `mode` is 'open', 'away' (hangs up), 'busy' (503), 'cut' (mid-upload) or 'slow'."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self.target = (str(parts.hostname), int(parts.port or 80))
        self.mode = "open"
        self.refused = 0
        self.on_upload: Callable[[], None] | None = None  # called when an upload has begun and its end has not passed
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.uri = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            if self.mode == "away":
                self.refused += 1
                return
            if self.mode == "busy":
                self.refused += 1
                client.recv(65536)
                client.sendall(_BUSY)
                return
            with socket.create_connection(self.target) as server:
                back = threading.Thread(target=self._pass, args=(server, client, False), daemon=True)
                back.start()
                self._pass(client, server, True)
                back.join()

    def _pass(self, source: socket.socket, target: socket.socket, up: bool) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if self.mode == "slow" and up:
                    time.sleep(0.2)
                if self.mode in ("away", "busy") or (self.mode == "cut" and up and passed > 20_000):
                    self.refused += 1
                    break
                target.sendall(data)
                passed += len(data)
                if up and self.on_upload is not None and data.startswith(b"PUT "):
                    self.on_upload()
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxied(target: str) -> Iterator[Proxy]:
    """Run a proxy before *target*."""
    proxy = Proxy(target)
    try:
        yield proxy
    finally:
        proxy.close()
