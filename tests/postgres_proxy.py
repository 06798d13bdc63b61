"""What may stand between a store and its server: a line that breaks where a test says, and a proxy that pools transactions."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Callable
from typing import Self
from urllib.parse import urlsplit

import psycopg


class _Listener:
    """Takes connections on a port of its own and serves each in a thread, until the block is left."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.url = self._target._replace(
            netloc=f"{self._target.username}:{self._target.password}@127.0.0.1:{self._socket.getsockname()[1]}"
        ).geturl()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for one in self._open:
            _end(one)
        for thread in self._threads:
            thread.join(10)
        for one in self._open:
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            self._open.append(client)
            thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _serve(self, client: socket.socket) -> None:
        raise NotImplementedError


class Line(_Listener):
    """A line to the server that breaks when a client says `cut_at`: before that reached the server, or once it was answered.

    `meanwhile` is called when the server has lost the client and the client does not know yet. With `silent` the line does
    not break, but no answer comes any more. `sent` counts what clients said.
    """

    sent = 0

    cut_at: bytes | None = None
    reached = False
    silent = False
    meanwhile: Callable[[], object] | None = None

    def break_at(self, words: bytes, *, reached: bool, meanwhile: Callable[[], object] | None = None) -> None:
        """Break once at these words."""
        self.cut_at, self.reached, self.meanwhile = words, reached, meanwhile

    def _serve(self, client: socket.socket) -> None:
        assert self._target.hostname is not None
        server = socket.create_connection((self._target.hostname, self._target.port or 5432))
        self._open.append(server)
        try:
            while self._carry(client, server):
                pass
        except OSError:
            pass
        _end(client)
        _end(server)

    def _carry(self, client: socket.socket, server: socket.socket) -> bool:
        """Carry what one side says to the other; False once the line is broken or one of them is gone."""
        for one in select.select([client, server], [], [])[0]:
            data = one.recv(65_536)
            if not data:
                return False
            self.sent += one is client
            if one is client and self.cut_at is not None and self.cut_at in data:
                self.cut_at = None
                self._break(client, server, data)
                return False
            (client if one is server else server).sendall(data)
        return True

    def _break(self, client: socket.socket, server: socket.socket, data: bytes) -> None:
        if self.reached:
            server.sendall(data)
            server.recv(65_536)
        if self.silent:
            while client.recv(65_536):
                pass
        _end(server)
        if self.meanwhile is not None:
            self.meanwhile()


class Pooling(_Listener):
    """A proxy in the manner of those that pool transactions: each transaction of a client goes to the next of a few sessions
    of the server, in turn. It asks no password, and its sessions have nothing left of what a client did there before."""

    def __init__(self, url: str, sessions: int = 3) -> None:
        super().__init__(url)
        self._idle = [psycopg.connect(url, autocommit=True, prepare_threshold=None) for _ in range(sessions)]
        self._free = threading.Condition()
        self.turns = 0

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        for one in self._idle:
            one.close()

    def _serve(self, client: socket.socket) -> None:
        try:
            self._greet(client)
            while (message := _message(client))[:1] != b"X":
                self._transaction(client, message)
        except (OSError, EOFError):
            pass
        _end(client)

    def _greet(self, client: socket.socket) -> None:
        """Take the start-up message, after refusing to encrypt, and say what a server says."""
        while True:
            size = int.from_bytes(_exactly(client, 4))
            code = int.from_bytes(_exactly(client, size - 4)[:4])
            if code == 196_608:
                break
            client.sendall(b"N")
        said = {"server_version": "16.0", "server_encoding": "UTF8", "client_encoding": "UTF8", "in_hot_standby": "off"}
        said |= {"default_transaction_read_only": "off", "standard_conforming_strings": "on", "integer_datetimes": "on"}
        settings = b"".join(_packed(b"S", f"{name}\0{value}\0".encode()) for name, value in said.items())
        client.sendall(_packed(b"R", bytes(4)) + settings + _packed(b"K", bytes(8)) + _packed(b"Z", b"I"))

    def _transaction(self, client: socket.socket, message: bytes) -> None:
        """Carry messages to one session until the server says that no transaction is open."""
        with self._free:
            self._free.wait_for(lambda: self._idle)
            session = self._idle.pop(0)
            self.turns += 1
        server = socket.socket(fileno=os.dup(session.fileno()))
        server.settimeout(60)  # the flag is shared with the session's own descriptor, which must not block
        try:
            while True:
                server.sendall(message)
                while message[:1] not in (b"Q", b"S"):  # a query is whole, or ends with a sync
                    message = _message(client)
                    server.sendall(message)
                while (answer := _message(server))[:1] != b"Z":
                    client.sendall(answer)
                if answer[-1:] == b"I":
                    break
                client.sendall(answer)
                message = _message(client)
                if message[:1] == b"X":
                    raise EOFError
        finally:
            server.close()
            session.execute("ROLLBACK")
            session.execute("DISCARD ALL")
            with self._free:
                self._idle.append(session)
                self._free.notify()
        client.sendall(answer)


def _packed(kind: bytes, body: bytes) -> bytes:
    return kind + (len(body) + 4).to_bytes(4) + body


def _message(one: socket.socket) -> bytes:
    head = _exactly(one, 5)
    return head + _exactly(one, int.from_bytes(head[1:]) - 4)


def _exactly(one: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        more = one.recv(size - len(found))
        if not more:
            raise EOFError
        found += more
    return found


def _end(one: socket.socket) -> None:
    """Let neither side say more; the descriptor stays until the block is left, as others may be looking at it."""
    try:
        one.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
