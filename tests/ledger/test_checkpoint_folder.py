"""Where checkpoints go is settled before a ledger is made."""

from pathlib import Path

import pytest

from consentlib import Ledger
from consentlib.errors import StoreUnavailableError
from consentlib.policy import parse_policy, starter


def test_no_room_for_checkpoints(tmp_path: Path) -> None:
    """Where no checkpoint can be kept no ledger is begun: neither a database nor keys are left behind."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreUnavailableError, match="expected a folder for checkpoints"):
        Ledger.create(f"sqlite:///{tmp_path}/shop.db", policy=parse_policy(starter()), checkpoints=tmp_path / "file" / "here")
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_default_folder_is_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless said otherwise checkpoints lie with the user's state, not beside the database that may be restored."""
    monkeypatch.delenv("CONSENTLIB_CHECKPOINTS")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with Ledger.create(f"sqlite:///{tmp_path}/shop.db", policy=parse_policy(starter())):
        assert [one.parent.parent for one in tmp_path.rglob("checkpoint")] == [tmp_path / "state" / "consentlib"]
