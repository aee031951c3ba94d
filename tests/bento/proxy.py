"""A network between a service and its database, on loopback, that can be slow, silent or cut."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class Proxy:
    """Passes bytes on between clients and `port`; `delay` in seconds, `silent` and `cut` change how."""

    def __init__(self, port: int) -> None:
        self.target = ("127.0.0.1", port)
        self.delay, self.silent, self.is_cut, self.ended = 0.0, False, False, False
        self.pairs: list[tuple[socket.socket, socket.socket]] = []
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.listening.getsockname()[1])
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while not self.ended:
            with suppress(OSError):
                client, _ = self.listening.accept()
                if self.is_cut:
                    client.close()
                    continue
                server = socket.create_connection(self.target)
                self.pairs.append((client, server))
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self.copy, args=(source, sink), daemon=True).start()

    def copy(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while part := source.recv(2**16):
                if self.delay:
                    threading.Event().wait(self.delay)
                if not self.silent:  # what came in meanwhile is lost, as on a network that fails
                    sink.sendall(part)
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """End all connections, and refuse new ones until `heal`."""
        self.is_cut = True
        for pair in self.pairs:
            for each in pair:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
        self.pairs.clear()

    def heal(self) -> None:
        self.delay, self.silent, self.is_cut = 0.0, False, False

    def end(self) -> None:
        self.ended = True
        self.cut()
        self.listening.close()
