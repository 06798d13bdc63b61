"""The vault: keys by owner, condemned and erased, and no byte of an erased key left in its files."""

from __future__ import annotations

import os
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from consentlib.errors import KeyFileError, StoreUnavailableError
from consentlib.store.vault import Key, Vault
from consentlib.testing.store_contract import in_child


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[Vault]:
    """An empty vault."""
    made = Vault.create(tmp_path / "v")
    yield made
    made.close()


def files(tmp_path: Path) -> bytes:
    """The bytes of all files of the vault."""
    return b"".join(one.read_bytes() for one in tmp_path.iterdir())


def test_a_key_for_each_owner(vault: Vault, tmp_path: Path) -> None:
    """An owner keeps its key, also in another process's eyes; what has no owner gets a fresh one each time."""
    first = vault.keys_for(["a", None, "b", "a", None])
    assert first[0] == first[3]
    assert len({key.id for key in first}) == len({key.key for key in first}) == 4
    again = Vault.open(tmp_path / "v", vault.id)
    assert again.keys_for(["b", "a"]) == [first[2], first[0]]
    assert again.find([key.id for key in first] + [bytes(16)]) == {key.id: key.key for key in first}
    again.close()
    assert vault.keys_for([]) == []


def test_many_owners(vault: Vault) -> None:
    """A batch of a thousand is answered in order, new owners and known ones mixed."""
    known = dict(zip("abc", vault.keys_for(["a", "b", "c"]), strict=True))
    owners = [None if number % 3 == 0 else f"o{number % 400}" for number in range(1000)] + ["c", "a", "b"]
    keys = vault.keys_for(owners)
    assert keys[-3:] == [known["c"], known["a"], known["b"]]
    assert vault.keys_for([one for one in owners if one]) == [key for key, one in zip(keys, owners, strict=True) if one]
    assert len(vault.find([key.id for key in keys])) == len({key.id for key in keys})


def test_condemned_keys(vault: Vault) -> None:
    """A condemned key opens what there is and seals nothing new; pardoned it is its owner's again, unless there is a newer."""
    a, b, own = vault.keys_for(["a", "b", None])
    for _ in range(2):  # condemning twice is condemning once
        vault.condemn({a.id: 7, b.id: 8, own.id: 9})
    assert sorted(vault.condemned(), key=lambda one: one.index) == [(a.id, 7, "a"), (b.id, 8, "b"), (own.id, 9, None)]
    assert vault.find([a.id]) == {a.id: a.key}
    [newer] = vault.keys_for(["a"])
    assert newer != a
    vault.settle(erase=[own.id], size=12)
    assert (vault.condemned(), vault.settled()) == ([], 12)
    assert vault.keys_for(["a", "b"]) == [newer, b]
    assert vault.find([a.id, own.id]) == {a.id: a.key}


def test_keep_only(vault: Vault) -> None:
    """What is not named goes, its owners with it; an owner who comes back gets a new key."""
    a, b = vault.keys_for(["a", "b"])
    vault.condemn({b.id: 1})
    vault.keep_only((id for id in [b.id, b.id]), size=5)
    assert vault.find([a.id, b.id]) == {b.id: b.key}
    assert vault.keys_for(["b"]) == [b]
    assert vault.keys_for(["a"]) != [a]
    vault.keep_only([], size=6)
    assert (vault.health()["keys"], vault.settled()) == (0, 6)


def test_keep_only_fails_whole(vault: Vault) -> None:
    """If the names can't all be read nothing is erased."""
    [a] = vault.keys_for(["a"])

    def broken() -> Iterator[bytes]:
        yield bytes(16)
        raise StoreUnavailableError("expected to read on, found an end")

    with pytest.raises(StoreUnavailableError):
        vault.keep_only(broken(), size=5)
    assert vault.keys_for(["a"]) == [a]
    vault.keep_only([], size=5)


@pytest.mark.parametrize("count", [1, 500, pytest.param(5_000, marks=pytest.mark.slow)])
def test_no_file_holds_an_erased_key(vault: Vault, tmp_path: Path, count: int) -> None:
    """After `purge` no byte of an erased key is in any file, however many others came and went between; the others are."""
    chosen = random.Random(count)
    gone: list[Key] = []
    left: list[Key] = []
    for batch in range(4):
        left += vault.keys_for([None if chosen.random() < 0.2 else f"{batch} {number}" for number in range(count)])
        chosen.shuffle(left)
        erased, left = left[: count // 2 + 1], left[count // 2 + 1 :]
        vault.condemn({key.id: 0 for key in erased})
        vault.settle(erase=[key.id for key in erased], size=0)
        gone += erased
        assert vault.purge() is True
    held = files(tmp_path)
    some = chosen.sample(gone, min(len(gone), 400))
    assert [key for key in some if key.key in held or key.key[:16] in held or key.key[16:] in held] == []
    assert [key for key in left[:400] if key.key not in held] == []


def test_pending_while_somebody_reads(vault: Vault, tmp_path: Path) -> None:
    """A reader of the vault's file keeps an erased key alive, and `purge` says so."""
    [a] = vault.keys_for(["a"])
    with closing(sqlite3.connect(tmp_path / "v", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM keys").fetchall()
        vault.settle(erase=[a.id], size=0)
        assert vault.purge() is False
        assert a.key in files(tmp_path)
    assert vault.purge() is True
    assert a.key not in files(tmp_path)


def test_the_file_is_for_its_owner_alone(vault: Vault, tmp_path: Path) -> None:
    """All files of a vault have mode 0600, and `repr` shows no key."""
    [a] = vault.keys_for(["a"])
    assert {one.stat().st_mode & 0o777 for one in tmp_path.iterdir()} == {0o600}
    assert vault.health() == {"path": str(tmp_path / "v"), "mode": 0o600, "keys": 1, "condemned": 0}
    assert a.key.hex() not in repr(a)
    assert repr(a.key) not in repr(a)


def test_one_of_many_creators_wins(vault: Vault, tmp_path: Path) -> None:
    """A vault that is there is never begun again."""
    [a] = vault.keys_for(["a"])
    with pytest.raises(KeyFileError, match="never replaced"):
        Vault.create(tmp_path / "v")
    assert vault.keys_for(["a"]) == [a]
    with pytest.raises(StoreUnavailableError):
        Vault.create(tmp_path / "no folder" / "v")


def test_a_closed_vault(vault: Vault) -> None:
    """After `close` every call raises."""
    vault.close()
    for call in (vault.condemned, vault.purge, lambda: vault.keys_for(["a"]), lambda: vault.find([b""])):
        with pytest.raises(StoreUnavailableError):
            call()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_after_a_fork(vault: Vault) -> None:
    """A child goes on with connections of its own, and parent and child see each other's keys."""
    [a] = vault.keys_for(["a"])

    def child() -> None:
        assert vault.keys_for(["a"]) == [a]
        vault.keys_for(["b"])

    assert in_child(child) == 0
    assert vault.health()["keys"] == 2
