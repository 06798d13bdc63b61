"""The documentation builds."""

import subprocess
import sys
from pathlib import Path

import pytest
from doc_pages import DOCS

pytest.importorskip("furo")
pytest.importorskip("myst_parser")


def test_build_without_warnings(tmp_path: Path) -> None:
    """Sphinx builds every page, and a warning is an error."""
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "dummy", str(DOCS), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
