"""A way to a server that breaks off, as networks do."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def cutting(host: str, after: int) -> Iterator[str]:
    """The address of a way to `host` that breaks off for good once `after` bytes went to it."""
    server = socket.create_server(("127.0.0.1", 0))
    left = [after]

    def pump(source: socket.socket, sink: socket.socket, counted: bool) -> None:
        try:
            while data := source.recv(4096):
                if counted:
                    left[0] -= len(data)
                if left[0] <= 0:
                    break
                sink.sendall(data)
        except OSError:
            pass
        finally:
            source.close()
            sink.close()

    def accept() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            name, _, port = host.partition(":")
            far = socket.create_connection((name, int(port)))
            threading.Thread(target=pump, args=(client, far, True), daemon=True).start()
            threading.Thread(target=pump, args=(far, client, False), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.getsockname()[1]}"
    finally:
        server.close()
