"""The tables in the reference that follow from the code. `python docs/tables.py` writes them into the pages, between

    <!-- table: name -->   and   <!-- end -->

The tests compare, so that no page can say what the code does not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from inspect import get_annotations
from pathlib import Path
from typing import Any, Final

import attrs
import click

from consentlib.cli import main
from consentlib.errors import EventError
from consentlib.events import KINDS
from consentlib.reasons import REASONS
from consentlib.rules import RULES
from consentlib.rules.judge import ABSOLUTE
from consentlib.terms import CONDITIONS, GROUNDS, MESSAGE_FIELDS, OBJECTIONS, OBLIGATIONS

PAGES: Final = Path(__file__).parent
_PLACE: Final = re.compile(r"(<!-- table: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_FORMS: Final = {
    "int | None": "time",
    "bool": "true or false",
    "Names": "list of names",
    "Scope": "list of names, or `all`",
    "Date": "date",
}
_ADDRESSES: Final = {"other": "address", "to": "address", "addresses": "list of addresses"}


def render(text: str) -> str:
    """The page with its tables as the code has them now."""
    return _PLACE.sub(lambda found: f"{found[1]}\n{TABLES[found[2]]()}\n{found[3]}", text)


def _table(head: str, rows: Iterable[Iterable[str]]) -> str:
    names = head.split(" | ")
    lines = [names, ["---"] * len(names), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "–"


def _own_fields(cls: Any) -> list[Any]:
    return [one for one in attrs.fields(cls) if one.name not in ("subject", "occurred_at", "event_id", "evidence", "raw")]


def _events() -> str:
    def fields(cls: Any) -> str:
        marks = (
            f"`{one.alias}`" + "*" * (one.default is attrs.NOTHING) + "°" * one.metadata["person"] for one in _own_fields(cls)
        )
        return ", ".join(marks) or "–"

    return _table(
        "kind | class | effect | fields of its own | what happened",
        ((f"`{kind}`", f"`{cls.__name__}`", cls.effect, fields(cls), _first_line(cls)) for kind, cls in KINDS.items()),
    )


def _first_line(cls: Any) -> str:
    return str(cls.__doc__).strip().split("\n\n")[0].replace("\n", " ")


def _fields() -> str:
    found: dict[tuple[str, str], list[str]] = {}
    for kind, cls in KINDS.items():
        for one in _own_fields(cls):
            found.setdefault((one.alias, _form(one, _stated(cls, one.name))), []).append(kind)
    return _table("field | form | in", ((f"`{name}`", form, _code(kinds)) for (name, form), kinds in sorted(found.items())))


def _stated(cls: Any, name: str) -> str:
    """A field's type as the source states it; cattrs, once used, replaces it in attrs' own fields."""
    return next(str(own[name]) for own in map(get_annotations, cls.__mro__) if name in own)


def _form(one: Any, stated: str) -> str:
    """What a field takes, by its type; of text, by what its reader makes of two words."""
    if one.name in _ADDRESSES or not stated.startswith("str"):
        return _ADDRESSES.get(one.name) or _FORMS[stated]
    reader = getattr(one.converter, "converter", one.converter)  # attrs may wrap it
    try:
        read = reader("two words")
    except EventError as error:
        read, allowed = None, re.findall("`([a-z]+)`", str(error).partition(" in `")[0])
    else:
        allowed = list(OBJECTIONS) if read in OBJECTIONS else []
    if "FormState" in stated:
        return "name of a form, or its state"
    return " or ".join(f"`{name}`" for name in allowed) or ("text" if read else "name")


def _rules() -> str:
    order = {"no": 0, "only": 2}
    rules = sorted(RULES.values(), key=lambda rule: order.get(rule.id.partition(".")[0], 1))
    return _table(
        "rule | effect | reads | rests on | in English | på dansk",
        ((f"`{r.id}`", r.effect, _code(sorted(r.reads)), "; ".join(r.cite), r.text["en"], r.text["da"]) for r in rules),
    )


def _reasons(*, allows: bool) -> str:
    chosen = [reason for reason in REASONS.values() if reason.allows is allows]
    rows = ([f"`{r.code}`", r.shop["en"], r.shop["da"], "; ".join(r.cite)] for r in chosen)
    if allows:
        return _table("reason | in English | på dansk | rests on", rows)
    more = ([r.repair or "–", "yes" if r.code in ABSOLUTE else "–"] for r in chosen)
    return _table(
        "reason | in English | på dansk | rests on | what would help | in every mode",
        ([*row, *rest] for row, rest in zip(rows, more, strict=True)),
    )


def _for_people() -> str:
    return _table("reason | in English | på dansk", ((f"`{r.code}`", r.person["en"], r.person["da"]) for r in REASONS.values()))


def _grounds() -> str:
    return _table(
        "ground | rests on | DPV 2.3 | meaning",
        ((f"`{g.name}`", "; ".join(g.cite), f"`{g.dpv}`" if g.dpv else "–", g.note) for g in GROUNDS.values()),
    )


def _conditions() -> str:
    return _table(
        "condition | holds while | rests on", ((f"`{c.name}`", c.note, "; ".join(c.cite)) for c in CONDITIONS.values())
    )


def _words(words: dict[str, str], head: str) -> str:
    return _table(head, ((f"`{name}`", note) for name, note in words.items()))


def _commands() -> str:
    return "\n".join(_command(main, "consentlib"))


def _command(command: click.Command, path: str) -> Iterable[str]:
    context = click.Context(command, info_name=path)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            if found is not None and not found.hidden:
                yield from _command(found, f"{path} {name}")
        return
    yield f"### `{path}`\n"
    yield f"```text\n{' '.join([path, *command.collect_usage_pieces(context)])}\n```\n"
    paragraphs = (command.help or "").replace("\b", "").strip().split("\n\n")
    yield "\n\n".join(" ".join(one.split()) for one in paragraphs) + "\n"
    options = [one for one in command.params if isinstance(one, click.Option) and not one.hidden]
    rows = [(f"`{', '.join([*one.opts, *one.secondary_opts])}`", _option(one)) for one in options]
    if rows:
        yield _table("option | meaning", rows)


def _option(option: click.Option) -> str:
    choices = f"One of {_code(map(str, option.type.choices))}." if isinstance(option.type, click.Choice) else ""
    needed = "Must be there." if option.required else ""
    return " ".join(f"{option.help or ''} {choices} {needed}".split()) or "–"


TABLES: Final[dict[str, Callable[[], str]]] = {
    "events": _events,
    "fields": _fields,
    "rules": _rules,
    "allow-reasons": lambda: _reasons(allows=True),
    "deny-reasons": lambda: _reasons(allows=False),
    "reasons-for-people": _for_people,
    "grounds": _grounds,
    "conditions": _conditions,
    "message": lambda: _words(MESSAGE_FIELDS, "field | what the shop declares"),
    "obligations": lambda: _words(OBLIGATIONS, "obligation | what the sender must do"),
    "commands": _commands,
}

if __name__ == "__main__":
    for page in sorted(PAGES.rglob("*.md")):
        before = page.read_text(encoding="utf-8")
        after = render(before)
        if after != before:
            page.write_text(after, encoding="utf-8")
