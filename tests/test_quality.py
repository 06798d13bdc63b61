"""The house rules: which way imports go, what an import loads, what is public, and what the tools say."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import consentlib

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "consentlib"

WORDS = {"errors", "damage", "codec", "terms", "reasons", "addresses", "fields", "events", "wire"}
CORE = {"facts", "fold", "keys", "policy", "rules", "log", "store", "reader", "recorder", "signing", "checkpoints"}
CORE |= {"files", "journal", "outstanding", "settling"}
SERVICES = {"privacy", "replay", "audit", "history", "notary", "rotation", "opening", "transfer", "copying"}
HALL = {"ledger", "permits", "asking", "writing", "bound", "recovery"}
DOORS = {"cli", "__main__"}
FLOORS = [WORDS, CORE, SERVICES, HALL, DOORS]
PURE = ("log", "rules", "fold", "policy")
IMPURE = {
    "os",
    "time",
    "random",
    "secrets",
    "logging",
    "socket",
    "sqlite3",
    "subprocess",
    "pathlib",
    "shutil",
    "tempfile",
    "threading",
}


def modules() -> list[Path]:
    """All modules of the package."""
    return sorted(SOURCE.rglob("*.py"))


def room(path: Path) -> str:
    """The room a module lies in."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return parts[0]


def imported(path: Path) -> set[str]:
    """The modules a file imports anywhere, functions included; imports for type checkers alone are left out."""
    tree = ast.parse(path.read_text())
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_downwards(path: Path) -> None:
    """A room imports from its own floor and those below; nothing but the command line's case runner imports `testing`."""
    here = room(path)
    if here in ("__init__", "testing"):
        return
    floor = next(number for number, rooms in enumerate(FLOORS) if here in rooms)
    allowed = set().union(*FLOORS[: floor + 1]) | ({"testing", "__init__"} if here in DOORS else set())
    used = {name.split(".")[1] for name in imported(path) if name.startswith("consentlib.")}
    assert used <= allowed, f"{here} imports {sorted(used - allowed)}"


@pytest.mark.parametrize(
    "path", [one for one in modules() if room(one) in PURE and one.name != "load.py"], ids=lambda one: one.name
)
def test_pure_rooms_touch_nothing(path: Path) -> None:
    """Values in, values out: no clock, file, network, randomness or logging in the rooms that decide and prove."""
    assert not {name.split(".")[0] for name in imported(path)} & IMPURE


def test_import_loads_little() -> None:
    """`import consentlib` loads no backend, no command line, no parser of another world."""
    heavy = {
        "sqlite3",
        "sqlite_utils",
        "click",
        "cryptography",
        "cattrs",
        "idna",
        "zipfile",
        "tomllib",
        "importlib.metadata",
        "asyncio",
        "email",
        "socket",
        "unittest",
    }
    code = "import sys, consentlib; consentlib.Ledger; print('\\n'.join(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not heavy & set(shown)
    assert not [name for name in shown if name.startswith("consentlib.") and name.split(".")[1] in {"cli", "testing"}]


def test_public_names() -> None:
    """`__all__` is what is public, sorted, there, documented, and short."""
    assert consentlib.__all__ == sorted(consentlib.__all__)
    assert len(consentlib.__all__) <= 14
    assert all(inspect.getdoc(getattr(consentlib, name)) for name in consentlib.__all__)


@pytest.mark.parametrize("command", ["ruff check .", "ruff format --check .", "mypy"])
def test_tools_are_content(command: str) -> None:
    """ruff and mypy --strict have nothing to say."""
    done = subprocess.run([sys.executable, "-m", *command.split()], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
