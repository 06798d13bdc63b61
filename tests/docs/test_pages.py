"""Pages agree with the code, with each other, and speak of the project alone."""

import re
import sys
from importlib import import_module
from pathlib import Path

import attrs
import pytest
from doc_pages import DOCS, NAMES, PAGES, ROOT

from consentlib.policy import read
from consentlib.policy.model import Parameters

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_ROW = re.compile(r"^\| `([a-z_]+)`(\*?) \|(.*)\|$", re.MULTILINE)


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch):
    """The module that makes the tables."""
    monkeypatch.setattr(sys, "path", [str(DOCS), *sys.path])
    return import_module("tables")


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_tables_match_the_code(page: Path, tables) -> None:
    """Generated tables are as the code would have them; `python docs/tables.py` writes them."""
    text = page.read_text(encoding="utf-8")
    assert tables.render(text) == text


def test_every_table_is_shown(tables) -> None:
    """No table is made for nothing."""
    shown = {name for page in PAGES for name in re.findall(r"<!-- table: ([a-z-]+) -->", page.read_text(encoding="utf-8"))}
    assert shown == set(tables.TABLES)


def _section(heading: str) -> str:
    text = (DOCS / "reference/policy-file.md").read_text(encoding="utf-8")
    return text.split(f"\n## {heading}\n")[1].split("\n## ")[0]


@pytest.mark.parametrize(
    ("heading", "spec"),
    [
        ("`[policy]`", read._HEAD),
        ("`[controllers.NAME]`", read._CONTROLLER),
        ("`[processors.NAME]`", read._PROCESSOR),
        ("`[profiles.NAME]`", read._PROFILE),
        ("`[texts.VERSION]`", read._TEXT),
        ("`[forms.NAME]`", read._FORM),
        ("`[uses.NAME]`", read._USE),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_policy_keys(heading: str, spec: dict) -> None:
    """The page names each key of a policy file, and whether it must be there."""
    rows = {(name, bool(star)) for name, star, _ in _ROW.findall(_section(heading))}
    assert rows == {(name, needed) for name, (_, needed) in spec.items()}


def test_parameters() -> None:
    """The page names each parameter with its default."""
    rows = {name: cells.split(" | ")[0].strip().strip("`") for name, _, cells in _ROW.findall(_section("`[parameters]`"))}
    shown = {True: "true", None: "–", (): "[]"}
    assert rows == {name: str(shown.get(value, value)) for name, value in attrs.asdict(Parameters()).items()}


def test_top_level_tables() -> None:
    """The page has a section for each table of the file that has keys, and names the rest."""
    text = (DOCS / "reference/policy-file.md").read_text(encoding="utf-8")
    assert all(f"`[{name}" in text for name in read._POLICY if name != "format")


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page: Path) -> None:
    """Links between pages reach a file and, where they name one, a heading."""
    for target in _LINK.findall(re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        found = page.parent / file if file else page
        assert found.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", found.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {_anchor(heading) for heading in headings}, target


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_speaks_of_the_project_alone(page: Path) -> None:
    """No page names a path of the machine it was written on."""
    assert not re.search(r"(?<![\w.])/(work|tmp|home|root|usr|var)/", page.read_text(encoding="utf-8"))


def test_every_page_is_listed() -> None:
    """Every page stands in the table of contents of its folder."""
    for page in DOCS.rglob("*.md"):
        if page.name != "index.md":
            index = (page.parent / "index.md").read_text(encoding="utf-8")
            assert re.search(rf"^{page.stem}$", index, re.MULTILINE), page.relative_to(ROOT)


def test_changelog_has_this_version() -> None:
    """The changelog has a section for the version of the package."""
    from consentlib import __version__

    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
