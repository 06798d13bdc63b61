"""The examples run, and say what they should."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
DATA = Path(os.environ.get("CONSENTLIB_DATA", EXAMPLES.parent.parent / "shared" / "data"))


def run(*command: str) -> str:
    """The output of an example that must succeed."""
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_littlesteps() -> None:
    """The shop sends to who confirmed and did not stop, and may still deliver to who stopped."""
    shown = run(str(EXAMPLES / "littlesteps" / "shop.py"))
    assert "'allowed': 1, 'objection_direct_marketing': 1, 'unknown_subject': 1" in shown
    assert "under way" in shown
    assert "verified:" in shown


def test_cdnow() -> None:
    """Real orders carry contract and legal uses, and no marketing at all."""
    path = DATA / "cdnow" / "CDNOW_master.txt"
    if not path.exists():
        pytest.skip("the CDNOW data is not here")
    shown = run(str(EXAMPLES / "cdnow" / "cdnow.py"), str(path), "--customers", "300")
    assert "allowed    300  within_complaint_period" in shown
    assert "allowed    300  within_statutory_period" in shown
    assert "denied     300  no_ground" in shown


def installed(project: Path, target: Path) -> dict[str, str]:
    """Surroundings in which the entry points that a project declares are found, as if it were installed."""
    declared = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    info = target / f"{declared['name'].replace('-', '_')}-{declared['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {declared['name']}\nVersion: {declared['version']}\n")
    points = [
        f"[{group}]\n" + "".join(f"{name} = {place}\n" for name, place in entries.items())
        for group, entries in declared["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("".join(points))
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(target), str(project), *sys.path[1:]])}


def test_jsonl_store(tmp_path: Path) -> None:
    """The store of somebody else passes the whole contract, none of it skipped."""
    project = EXAMPLES / "jsonl-store"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(project), str(project)]
    done = subprocess.run(command, env=installed(project, tmp_path), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout
    assert "passed" in done.stdout


_SHOP = """
import sys
from base64 import b85encode
from pathlib import Path
from consentlib import Ledger
from consentlib.copying import copy
from consentlib.events import OrderPlaced
from consentlib.policy import parse_policy, starter
from consentlib.store import open_store

def written():  # Bo's words, as the file shows bytes
    return said in Path(folder, "shop.jsonl").read_text()

folder = sys.argv[1]
url = f"jsonl://{folder}/shop.jsonl"
place = {"keys": f"{folder}/keys", "checkpoints": f"{folder}/checkpoints"}
with Ledger.create(url, policy=parse_policy(starter()), **place) as ledger:
    ledger.record(OrderPlaced("anna@example.dk", order="o1"))
    ledger.withdraw("bo@example.dk", text="no more letters")
    with open_store(url).read() as view:
        parts = [part for one in view.entries() for part in one.parts.values()]
    said = next(b85encode(data).decode() for _, data in parts if b"no more letters" in data)
    assert written()
    assert ledger.erase("bo@example.dk", reason="art17", by="dpo").pending is False
    assert not written()
with Ledger.open(url, **place) as ledger:
    assert ledger.check("anna@example.dk", use="delivery", order="o1")
    assert ledger.verify(read_models=True).size == 5
copy(url, f"sqlite:///{folder}/shop.db", **place)
copy(f"sqlite:///{folder}/shop.db", f"jsonl://{folder}/back.jsonl", checkpoints=place["checkpoints"], new_keys=place["keys"])
"""


def test_ledger_in_a_jsonl_store(tmp_path: Path) -> None:
    """A ledger lives in it: it answers after opening, verifies, leaves nothing of what was erased, and moves out and in."""
    (tmp_path / "site").mkdir()
    surroundings = installed(EXAMPLES / "jsonl-store", tmp_path / "site")
    command = [sys.executable, "-c", _SHOP, str(tmp_path)]
    done = subprocess.run(command, env=surroundings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
