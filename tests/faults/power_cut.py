"""A model of a power cut: of what a process wrote, as strace saw it, only what it synced is sure to be on the disk.

What was not synced is gone, or the first part of it stayed, for each file by itself. A file made, renamed or removed counts
as unsynced until its folder is synced, which is stricter than common file systems are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from attrs import define, field, frozen

_CALLS = "openat,lseek,write,pwrite64,ftruncate,fsync,fdatasync,rename,unlink,sendto"
OPTIONS = ("-y", "-xx", "-s", "100000000", "-e", f"trace={_CALLS}")
_LINE = re.compile(r"\d+ +(\w+)\((.*)\) += (-?\d+)(?:<([^>]*)>)?")
_SECTOR = 512


@frozen
class Call:
    """One system call that took place: the file or folder it was about, its strings, its last number, its result."""

    name: str
    path: Path
    handle: int
    strings: tuple[bytes, ...]
    last: str
    result: int


def read_log(log: Path) -> Iterator[Call]:
    """The calls of a log made with `OPTIONS`."""
    for line in log.read_text().splitlines():
        found = _LINE.match(line)
        assert found or "+++" in line or "---" in line, line
        if found is None or int(found[3]) < 0:
            continue
        name, arguments, result, opened = found.groups()
        handle, place = re.match(r"(\d*)(?:AT_FDCWD)?(?:<([^>]*)>)?", arguments).groups()  # type: ignore[union-attr]
        strings = tuple(_unhex(one) for one in re.findall(r'"([^"]*)"', arguments))
        path = _unhex(opened or place or "") or strings[0]
        last = arguments.rpartition(", ")[2]
        yield Call(name, Path(path.decode()), int(result if opened else handle or 0), strings, last or arguments, int(result))


def _unhex(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


@define(eq=False)
class _File:
    synced: bytearray
    waiting: list[tuple[int, bytes | None]] = field(factory=list)
    """Writes as (place, bytes), cuts as (size, None)."""

    def sync(self) -> None:
        self.synced, self.waiting = self.kept(len(self.waiting)), []

    def kept(self, count: int, torn: int | None = None) -> bytearray:
        """What is there if the first `count` changes reached the disk, and of the next write `torn` bytes."""
        data = bytearray(self.synced)
        for number, (place, new) in enumerate(self.waiting[: count + (torn is not None)]):
            if new is None:
                del data[place:]
                new = b""
            elif number == count:
                new = new[:torn]
            data.extend(bytes(max(0, place - len(data))))
            data[place : place + len(new)] = new
        return data


class Disk:
    """A folder as it stands on a disk while calls are replayed; `answers` are what the process said meanwhile."""

    def __init__(self, folder: Path) -> None:
        self._names = {path: _File(bytearray(path.read_bytes())) for path in folder.rglob("*") if path.is_file()}
        self._folder = folder
        self._synced = dict(self._names)
        self._renamed: list[tuple[Path, _File | None]] = []
        self._places: dict[int, int] = {}
        self.answers: dict[str, Any] = {}

    def replay(self, call: Call) -> bool:
        """Do what a call did; whether it changed anything, or answered."""
        if call.name == "sendto":
            name, value = json.loads(call.strings[0])
            if name != "waits":
                self.answers[name] = value
            return True
        if call.name == "lseek":
            self._places[call.handle] = call.result
        if not call.path.is_relative_to(self._folder):
            return False
        return bool(getattr(self, f"_{call.name}", lambda _: False)(call))

    def _openat(self, call: Call) -> bool:
        self._places[call.handle] = 0
        if call.path.is_dir():
            return False
        if made := call.path not in self._names:
            self._name(call.path, _File(bytearray()))
        elif "O_TRUNC" in call.last:
            self._names[call.path].waiting.append((0, None))
        return made

    def _write(self, call: Call) -> bool:
        place = self._places[call.handle]
        self._places[call.handle] += call.result
        self._names[call.path].waiting.append((place, call.strings[0][: call.result]))
        return True

    def _pwrite64(self, call: Call) -> bool:
        self._names[call.path].waiting.append((int(call.last), call.strings[0][: call.result]))
        return True

    def _ftruncate(self, call: Call) -> bool:
        size = int(call.last)
        self._names[call.path].waiting += [(size, None), (size, b"")]
        return True

    def _fsync(self, call: Call) -> bool:
        if call.path in self._names:
            self._names[call.path].sync()
        else:
            self._keep_names(len(self._renamed), call.path)
        return True

    _fdatasync = _fsync

    def _rename(self, call: Call) -> bool:
        source, target = (Path(one.decode()) for one in call.strings)
        self._name(target, self._names[source])
        self._name(source, None)
        return True

    def _unlink(self, call: Call) -> bool:
        self._name(call.path, None)
        return True

    def _name(self, path: Path, file: _File | None) -> None:
        _put(self._names, path, file)
        self._renamed.append((path, file))

    def _keep_names(self, count: int, folder: Path) -> None:
        for path, file in self._renamed[:count]:
            if path.parent == folder:
                _put(self._synced, path, file)
        self._renamed = [one for one in self._renamed if one[0].parent != folder]

    def cut(self, keep: str, random: Random) -> dict[Path, bytes]:
        """The files after a power cut now: of what was not synced `none`, `all`, or `some` is kept."""
        names = dict(self._synced)
        for path, file in self._renamed[: _many(keep, len(self._renamed), random)]:
            _put(names, path, file)
        found = {}
        for path, file in names.items():
            count = _many(keep, len(file.waiting), random)
            torn = random.randrange(0, 8 * _SECTOR, _SECTOR) if keep == "some" and count < len(file.waiting) else None
            found[path.relative_to(self._folder)] = bytes(file.kept(count, torn))
        return found


def _many(keep: str, count: int, random: Random) -> int:
    return {"none": 0, "all": count, "some": random.randint(0, count)}[keep]


def _put(names: dict[Path, _File], path: Path, file: _File | None) -> None:
    if file is None:
        names.pop(path, None)
    else:
        names[path] = file


def restore(files: dict[Path, bytes], folder: Path) -> None:
    """Write files into a folder, but for the shared memory of SQLite, which is on no disk."""
    for path, data in files.items():
        if not path.name.endswith("-shm"):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
