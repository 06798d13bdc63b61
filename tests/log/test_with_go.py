"""Go's own `golang.org/x/mod/sumdb` accepts our notes, roots and proofs, and refuses wrong ones."""

import json
import os
import shutil
import subprocess
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_log import plain
from small_note import NEXT, SHOP, WITNESS, root_of, signed

from consentlib.log import leaf_hash, merkle

GOPATH = Path(os.environ.get("CONSENTLIB_GOPATH", "/usr/share/gocode"))
PACKAGE = GOPATH / "src/golang.org/x/mod/sumdb/note"
pytestmark = pytest.mark.skipif(
    shutil.which("go") is None or not PACKAGE.is_dir(),
    reason=f"no Go, or no golang.org/x/mod below {GOPATH}; Debian: golang-go golang-golang-x-mod-dev; else CONSENTLIB_GOPATH",
)

ENTRIES = plain(40)
HASHES = [leaf_hash(found.leaf) for found in ENTRIES]
Ask = Callable[[list[tuple[str, dict[str, Any]]]], list[str]]


def b64(data: bytes) -> str:
    """As Go reads bytes."""
    return b64encode(data).decode()


def node(level: int, position: int) -> bytes:
    """The hash of a perfect subtree."""
    return merkle.root(HASHES[position << level : (position + 1) << level])


def root(size: int) -> str:
    """The root at a size."""
    return b64(merkle.root(HASHES[:size]))


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """Asks the program; an answer is empty or what Go found wrong."""
    folder = tmp_path_factory.mktemp("go")
    source, program = Path(__file__).with_name("check_with_go.go"), folder / "check"
    settings = {"GO111MODULE": "off", "GOPATH": str(GOPATH), "GOCACHE": str(folder / "cache"), "GOFLAGS": "", "GOPROXY": "off"}
    command = ["go", "build", "-o", str(program), str(source)]
    built = subprocess.run(command, env=os.environ | settings, cwd=folder, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr

    def answers(questions: list[tuple[str, dict[str, Any]]]) -> list[str]:
        asked = json.dumps([{"Kind": kind, "Q": question} for kind, question in questions])
        done = subprocess.run([program], input=asked, capture_output=True, text=True, check=True)
        found: list[str] = json.loads(done.stdout)
        assert len(found) == len(questions)
        return found

    return answers


def test_notes(ask: Ask) -> None:
    """Go opens our checkpoints under our verifier key and reads size and root; another key, size or byte it refuses."""
    note, key = signed(ENTRIES).decode(), str(SHOP.verifier)
    right = {"Note": note, "Key": key, "Size": 40, "Root": b64(root_of(ENTRIES))}
    several = signed(ENTRIES, WITNESS, NEXT, SHOP).decode()
    assert ask([("note", right), ("note", right | {"Note": several})]) == ["", ""]
    wrong = [{"Key": str(NEXT.verifier)}, {"Size": 39}, {"Root": root(39)}, {"Note": note.replace("40", "41")}]
    assert all(ask([("note", right | change) for change in wrong]))


@pytest.mark.parametrize("size", [0, 1, 2, 7, 40])
def test_roots(ask: Ask, size: int) -> None:
    """Go computes our root from our leaves' bytes, and no other."""
    leaves = [b64(found.leaf) for found in ENTRIES[:size]]
    roots = root(size), root(size - 1 if size else 1), b64(bytes(32))
    answers = ask([("root", {"Leaves": leaves, "Root": one}) for one in roots])
    if size == 0:  # Go gives no tree to nothing: it answers with 32 zero bytes, where RFC 6962 has the hash of nothing.
        assert [bool(one) for one in answers] == [True, True, False]
    else:
        assert [bool(one) for one in answers] == [False, True, True]


def test_inclusion(ask: Ask) -> None:
    """Go accepts the proof of each entry at each size, and refuses it for another place."""
    right = [
        {"Index": index, "Size": size, "Root": root(size), "Leaf": b64(ENTRIES[index].leaf), "Proof": proof}
        for size in (1, 2, 3, 8, 29, 40)
        for index in range(size)
        for proof in [[b64(one) for one in merkle.inclusion_proof(index, size, node)]]
    ]
    assert set(ask([("inclusion", one) for one in right])) == {""}
    assert all(ask([("inclusion", one | {"Index": one["Index"] ^ 1}) for one in right]))


def test_consistency(ask: Ask) -> None:
    """Go accepts the proof from each size to each later one, and refuses it from another root."""
    right = [
        {"Old": old, "OldRoot": root(old), "Size": size, "Root": root(size), "Proof": proof}
        for size in (2, 3, 8, 29, 40)
        for old in range(1, size)
        for proof in [[b64(one) for one in merkle.consistency_proof(old, size, node)]]
    ]
    assert set(ask([("consistency", one) for one in right])) == {""}
    assert all(ask([("consistency", one | {"OldRoot": root(one["Old"] - 1)}) for one in right]))
