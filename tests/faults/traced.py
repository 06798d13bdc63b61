"""A forked child under strace: its system calls are logged, and one of them killed or failed where a test says."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

Say = Callable[[str, Any], None]
"""Tells the parent what was answered: a name and a value."""

CHANGING = ("openat", "write", "pwrite64", "fsync", "fdatasync", "ftruncate", "unlink", "rename", "fcntl", "flock")
"""What a writer does to files and locks."""

_CALL = re.compile(r"^\d+ +(\w+)\(", re.MULTILINE)


def needs_strace() -> pytest.MarkDecorator:
    """A visible skip where there is no strace, or where it may not attach."""
    return pytest.mark.skipif(not _may_trace(), reason="needs strace, and the right to attach it to a child")


def _may_trace() -> bool:
    if shutil.which("strace") is None:
        return False
    sleeper = subprocess.Popen(["sleep", "60"])
    tracer = subprocess.Popen(["strace", "-qq", "-p", str(sleeper.pid)], stderr=subprocess.DEVNULL)
    try:
        return _attached(sleeper.pid, tracer)
    finally:
        sleeper.kill()
        sleeper.wait()
        tracer.wait()


class Traced:
    """A child that does `work(say, wait)` under strace, from the moment it was forked.

    `wait` in the child returns when the parent calls `go`. `answers` are what it said, in order; `status` how it ended.
    """

    def __init__(self, child: int, ear: socket.socket) -> None:
        self._child = child
        ear.settimeout(60)
        self._ear = ear
        self._lines = ear.makefile("r")
        self.answers: dict[str, Any] = {}
        self.status: int | None = None

    def listen(self) -> bool:
        """Hear the child until it waits; False if it ended."""
        for line in self._lines:
            if not line.endswith("\n"):
                break
            name, value = json.loads(line)
            if name == "waits":
                return True
            assert name != "broken", value
            self.answers[name] = value
        return False

    def go(self) -> None:
        """Let it go on."""
        try:
            self._ear.send(b".")
        except OSError:
            pass  # it was killed

    def end(self) -> None:
        """Hear it out."""
        while self.listen():
            self.go()
        if self.status is None:
            self.status = os.waitstatus_to_exitcode(os.waitpid(self._child, 0)[1])


@contextmanager
def traced(work: Callable[[Say, Callable[[], None]], None], log: Path, *options: str) -> Iterator[Traced]:
    """Fork a child that does `work` under strace with these options; what it calls goes to `log`."""
    ear, mouth = socket.socketpair()
    child = os.fork()
    if child == 0:
        _child(work, mouth)
    mouth.close()
    command = ["strace", "-f", "-qq", "-o", str(log), *options, "-p", str(child)]
    tracer = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    one = Traced(child, ear)
    try:
        assert _attached(child, tracer)
        one.go()
        yield one
        one.end()
    finally:
        if one.status is None:
            os.kill(child, signal.SIGKILL)
            one.end()
        tracer.wait(20)
        one._lines.close()
        ear.close()


def calls(log: Path) -> dict[str, int]:
    """How often each system call is in a log."""
    found: dict[str, int] = {}
    for name in _CALL.findall(log.read_text()):
        found[name] = found.get(name, 0) + 1
    return found


def _child(work: Callable[[Say, Callable[[], None]], None], mouth: socket.socket) -> None:
    def say(name: str, value: Any) -> None:
        mouth.sendall(json.dumps([name, value]).encode() + b"\n")  # `sendto`, which no test counts

    def wait() -> None:
        say("waits", None)
        mouth.recv(1)

    try:
        mouth.recv(1)
        work(say, wait)
    except BaseException:  # noqa: BLE001  # told to the parent, which fails
        say("broken", traceback.format_exc())
    finally:
        os._exit(0)


def _attached(pid: int, tracer: subprocess.Popen[bytes]) -> bool:
    """Wait until strace has hold of a process; False if it gave up."""
    status = Path(f"/proc/{pid}/status")
    while tracer.poll() is None:
        if "TracerPid:\t0\n" not in status.read_text():
            return True
        time.sleep(0.001)
    return False
