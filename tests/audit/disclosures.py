"""Disclosures for tests: a shop with two people, the files of a zip, and whoever puts them together otherwise."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from consentlib.events import OrderPlaced
from consentlib.log.leaf import base64
from shop import LETTER, Shop

ANN, BO = "anna@example.dk", "bo@example.dk"
PHONE = "+4512345678"


def members(path: Path) -> dict[str, bytes]:
    """The files of a zip."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack(path: Path, files: dict[str, bytes]) -> Path:
    """A zip of files."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def two_people(shop: Shop | None = None) -> Shop:
    """Two people, with entries about each, about both, and about neither."""
    shop = Shop() if shop is None else shop
    shop.sign_up(ANN, addresses=(PHONE,))
    shop.sign_up(BO)
    shop.ledger.checkpoint()
    shop.clock.tick(60)
    list(shop.ledger.permits([ANN, BO], use="marketing_newsletter", message=LETTER))
    shop.ledger.record(OrderPlaced(ANN, order="1001", product_category="toys"))
    shop.ledger.withdraw(BO)
    return shop


def signed_for(path: Path) -> dict[str, bytes]:
    """The files of a disclosure that proofs and signature cover."""
    return {name: data for name, data in members(path).items() if not name.startswith(("consistency/", "verify", "README"))}


def leave_out(files: dict[str, bytes]) -> None:
    del files["proofs/2.tlog-proof"]


def add_proof(files: dict[str, bytes]) -> None:
    files["proofs/3.tlog-proof"] = files["proofs/2.tlog-proof"]


def swap_proofs(files: dict[str, bytes]) -> None:
    one, two = "proofs/1.tlog-proof", "proofs/2.tlog-proof"
    files[one], files[two] = files[two], files[one]


def other_path(files: dict[str, bytes]) -> None:
    """The first hash on the way to the root is another."""
    rows = files["proofs/1.tlog-proof"].split(b"\n")
    rows[3] = base64(bytes(32))
    files["proofs/1.tlog-proof"] = b"\n".join(rows)


def drop_line(files: dict[str, bytes]) -> None:
    files["disclosure.ndjson"] = b"".join(files["disclosure.ndjson"].splitlines(keepends=True)[1:])


def turn_lines(files: dict[str, bytes]) -> None:
    rows = files["disclosure.ndjson"].splitlines(keepends=True)
    files["disclosure.ndjson"] = b"".join([rows[1], rows[0], *rows[2:]])


def double_line(files: dict[str, bytes]) -> None:
    rows = files["disclosure.ndjson"].splitlines(keepends=True)
    files["disclosure.ndjson"] = b"".join([rows[0], *rows])


def off_record(files: dict[str, bytes]) -> None:
    """The entries alone, without those that say that they were disclosed."""
    rows = files["disclosure.ndjson"].splitlines(keepends=True)
    files["disclosure.ndjson"] = b"".join(rows[:2])
    kept = {"proofs/0.tlog-proof", "proofs/1.tlog-proof", "proofs/2.tlog-proof"}
    for name in [name for name in files if name.startswith("proofs/") and name not in kept]:
        del files[name]


def other_policy(files: dict[str, bytes]) -> None:
    files["policy/0.json"] = files["policy/0.json"].replace(b"littlesteps", b"littlestep5")


def entry_as_policy(files: dict[str, bytes]) -> None:
    files["policy/1.json"] = files["policy/0.json"]


def no_checkpoint(files: dict[str, bytes]) -> None:
    del files["checkpoint"]


def more(files: dict[str, bytes]) -> None:
    files["history.txt"] = b"She agreed to everything."


def whole_too(files: dict[str, bytes]) -> None:
    files["log.ndjson"] = files["disclosure.ndjson"]


def change_line(files: dict[str, bytes], index: int, change: Callable[[dict[str, Any]], None]) -> None:
    """A change to the line of an entry, in its proof too."""
    proof, rows = f"proofs/{index}.tlog-proof", files["disclosure.ndjson"].splitlines(keepends=True)
    (place,) = [place for place, row in enumerate(rows) if json.loads(row)["i"] == index]
    row = json.loads(rows[place])
    change(row)
    rows[place] = json.dumps(row, separators=(",", ":")).encode() + b"\n"
    head, _, tail = files[proof].split(b"\n", 2)
    files["disclosure.ndjson"] = b"".join(rows)
    files[proof] = b"\n".join([head, b"extra " + base64(rows[place]), tail])


def first_line(files: dict[str, bytes], change: Callable[[dict[str, Any]], None]) -> None:
    """A change to the line of entry 1, in its proof too."""
    change_line(files, 1, change)


def drop_part(files: dict[str, bytes]) -> None:
    first_line(files, lambda row: row["parts"].pop("person"))


def edit_part(files: dict[str, bytes]) -> None:
    first_line(files, lambda row: row["parts"]["facts"].update(data="e30="))


def edit_leaf(files: dict[str, bytes]) -> None:
    first_line(files, lambda row: row.update(leaf=row["leaf"][:-4] + "AAo="))


def hide_part(files: dict[str, bytes]) -> None:
    first_line(files, lambda row: row["parts"].update(facts=None))


def withhold_part(files: dict[str, bytes]) -> None:
    first_line(files, lambda row: row["parts"].update(facts="withheld"))


BAD = (
    leave_out,
    add_proof,
    swap_proofs,
    other_path,
    drop_line,
    turn_lines,
    double_line,
    off_record,
    other_policy,
    entry_as_policy,
    no_checkpoint,
    more,
    whole_too,
    drop_part,
    edit_part,
    edit_leaf,
)
