"""Key files: what `save` writes is read back, and nothing else is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from consentlib.errors import KeyFileError
from consentlib.keys import Keys

KEYS = Keys(*(bytes([number]) * 32 for number in range(4)))
ROTATED = KEYS.prepared().advanced(bytes(32)).prepared()
ROWS: dict[str, Any] = json.loads(ROTATED._text())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "shop.db.keys"


@pytest.mark.parametrize("keys", [KEYS, KEYS.prepared(), ROTATED], ids=["new", "prepared", "rotated"])
def test_round_trip(keys: Keys, tmp_path: Path) -> None:
    """Fresh, between two keys, and after a rotation."""
    keys.save(tmp_path / "keys")
    assert Keys.load(tmp_path / "keys") == keys
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o600


@given(st.binary(max_size=100) | JSON.map(json.dumps).map(str.encode))
@example(b"[" * 100_000)
@example(b"9" * 5_000)
@example(b"\xff\xfe")
def test_any_bytes(path: Path, data: bytes) -> None:
    """Any other file is refused, in one line that shows nothing of it."""
    path.write_bytes(data)
    with pytest.raises(KeyFileError) as caught:
        Keys.load(path)
    assert str(caught.value).startswith("expected a key file ")


@given(st.fixed_dictionaries({}, optional=dict.fromkeys([*ROWS, "more"], JSON)))
@example({"first": 5})
@example({"first": ""})
@example({"first": ROTATED.first_check.upper()})
@example({"first": "00"})
@example({"retired": []})
@example({"retired": ["zz" * 32]})
@example({"keys": [*ROWS["keys"], ROWS["keys"][0]]})
@example({"keys": [{**row, "check": "é"} for row in ROWS["keys"]]})
@example({"keys": [{**row, "key": row["key"].upper()} for row in ROWS["keys"]]})
@example({"keys": [{**row, "key": "00" * 32} for row in ROWS["keys"]]})
@example({"more": 1})
def test_any_field(path: Path, changed: dict[str, Any]) -> None:
    """A file with a field changed, doubled or added is refused, and no key stands in the message."""
    path.write_text(json.dumps({**ROWS, **changed}))
    if {**ROWS, **changed} == ROWS:
        assert Keys.load(path) == ROTATED
        return
    with pytest.raises(KeyFileError) as caught:
        Keys.load(path)
    assert not any(row["key"] in str(caught.value) for row in ROWS["keys"])
