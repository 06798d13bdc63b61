"""The page that verifies an export in a browser: what it says, and that nothing bad passes and nothing leaves."""

from __future__ import annotations

import json
import random
import re
import shutil
import threading
import zipfile
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from browser import Browser
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from disclosures import ANN, BAD, hide_part, members, pack, signed_for, two_people
from small_log import ORIGIN, START, entry, log, opened, plain, with_erasure, without

from consentlib import codec
from consentlib.audit.verify import verify_file
from consentlib.errors import FormatError, VerificationError
from consentlib.log import WITHHELD, Entry, format_line, genesis, leaf_hash, merkle
from consentlib.log.checkpoint import Checkpoint
from consentlib.log.leaf import base64
from consentlib.log.note import Signer, sign_note
from forger import export_policies
from shop import Shop

PAGE = Path(__file__).parents[2] / "src/consentlib/audit/standalone/verify.html"
DRIVER = shutil.which("chromedriver")
needs_browser = pytest.mark.skipif(DRIVER is None, reason="needs the packages chromium and chromium-driver")

Lines = list[dict[str, Any]]
Signed = Callable[[list[Entry]], tuple[list[Entry], dict[str, bytes]]]


class Verdict(NamedTuple):
    """What the page shows."""

    title: str
    why: str
    reached: str
    colour: str


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all tests here."""
    if DRIVER is None:
        pytest.skip("needs the packages chromium and chromium-driver")
    with Browser(DRIVER, tmp_path_factory.mktemp("browser")) as one:
        yield one


@pytest.fixture
def page(browser: Browser) -> Browser:
    """The page, freshly opened from disk."""
    browser.open(PAGE)
    return browser


def verify(page: Browser, export: Path, *, keys: Sequence[str] = (), notes: Sequence[Path] = ()) -> Verdict:
    """Choose the files, paste the keys, press the button, read the verdict."""
    page.run("$('keys').value = ''; for (const id of ['file', 'notes']) $(id).onclick({ target: $(id) })")
    page.fill("#file", str(export))
    if keys:
        page.fill("#keys", "\n".join(keys))
    if notes:
        page.fill("#notes", "\n".join(map(str, notes)))
    page.click("#start")
    page.wait("!document.getElementById('verdict').hidden")
    reached, colour = page.run("const one = document.getElementById('verdict'); return [one.dataset.reached, one.className]")
    return Verdict(page.text("#verdict-title"), page.text("#why"), reached, colour)


def signer(seed: int = 1, name: str = ORIGIN) -> Signer:
    """A key made from a number."""
    secret = bytes([seed]) * 32
    return Signer(name, secret, Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw())


def sign(seed: bytes, text: bytes) -> bytes:
    """An Ed25519 signature."""
    return Ed25519PrivateKey.from_private_bytes(seed).sign(text)


def checkpoint(entries: Sequence[Entry], *signers: Signer, size: int | None = None, origin: str = ORIGIN) -> bytes:
    """A signed checkpoint over the entries."""
    found = Checkpoint(origin, len(entries) if size is None else size, merkle.root([leaf_hash(one.leaf) for one in entries]))
    return sign_note(found.text(), signers or [signer()], sign)


def write(path: Path, entries: Iterable[Entry] | bytes, **more: bytes) -> Path:
    """An export; `more` are further members."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("log.ndjson", entries if isinstance(entries, bytes) else b"".join(map(format_line, entries)))
        for name, data in more.items():
            archive.writestr(name, data)
    return path


def change(path: Path, entries: Sequence[Entry], how: Callable[[Lines], None], **more: bytes) -> Path:
    """An export with its lines changed."""
    lines = [json.loads(format_line(one)) for one in entries]
    how(lines)
    return write(path, b"".join(json.dumps(one, separators=(",", ":")).encode() + b"\n" for one in lines), **more)


def verifies(export: Path) -> bool:
    """What the library says of chain and content."""
    try:
        verify_file(export)
    except (VerificationError, FormatError):
        return False
    return True


def test_hashes() -> None:
    """The page's own policy admits exactly its script and its style, and names nothing outside the file."""
    text = PAGE.read_text()
    for tag in ("script", "style"):
        (body,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        wanted = b64encode(sha256(body.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{wanted}';" in text, f"the policy must say sha256-{wanted} for {tag}"
    assert "default-src 'none';" in text
    assert set(re.findall(r"https?://[^\"'\s]+", text)) == {"http://www.w3.org/2000/svg"}
    assert "innerHTML" not in text


def test_real_export(page: Browser, tmp_path: Path) -> None:
    """What a ledger exports reaches history under its key and a kept checkpoint, with the page that lies in the zip itself."""
    shop, export = Shop(), tmp_path / "audit.zip"
    shop.sign_up("anna@example.dk")
    kept = tmp_path / "kept"
    kept.write_bytes(shop.ledger.checkpoint())
    shop.ledger.withdraw("anna@example.dk", limited=True)
    shop.ledger.erase("anna@example.dk", by="dpo", reason="art17")
    shop.ledger.export(export)
    report = shop.ledger.verify()
    with zipfile.ZipFile(export) as archive:
        page.open(Path(archive.extract("verify.html", tmp_path)))
    found = verify(page, export, keys=[shop.ledger.verifier], notes=[kept])
    assert (found.title, found.reached, found.colour) == ("Verified, history included", "history", "good")
    facts = page.text("#facts")
    assert base64(report.root).decode() in facts
    assert f"Entries\n{report.size}\n" in facts
    assert f"on record\n{report.erased}" in facts
    assert shop.ledger.verifier in facts
    shown = {cells.split()[0]: int(cells.split()[1]) for cells in page.text("#counts").split("\n")}
    assert shown == dict(report.entries_by_kind)
    assert page.complaints() == []


def test_unsigned(page: Browser, tmp_path: Path) -> None:
    """An unsigned export reaches content and is not called verified."""
    found = verify(page, write(tmp_path / "audit.zip", with_erasure()))
    assert (found.title, found.reached, found.colour) == ("Intact, but not shown to be signed", "content", "warn")
    assert "this export is unsigned" in page.text("#gaps")


def test_signed(page: Browser, tmp_path: Path) -> None:
    """Signed under the pasted key it reaches signature; without the key the checkpoint proves nothing."""
    entries = plain(9)
    export = write(tmp_path / "audit.zip", entries, checkpoint=checkpoint(entries))
    assert verify(page, export)[2:] == ("content", "warn")
    assert "no verifier key was given" in page.text("#gaps")
    found = verify(page, export, keys=[str(signer().verifier)])
    assert (found.title, found.reached, found.colour) == ("Verified up to its signature", "signature", "warn")


def test_history(page: Browser, tmp_path: Path) -> None:
    """With earlier checkpoints of one's own, signed by the pasted keys, old and new, it reaches history."""
    entries = plain(11)
    inside = {"checkpoints/4": checkpoint(entries[:4]), "checkpoints/8": checkpoint(entries[:8])}
    export = write(tmp_path / "audit.zip", entries, checkpoint=checkpoint(entries), **inside)
    notes = []
    for size in (0, 1, 7, 11):
        notes.append(tmp_path / f"kept-{size}")
        notes[-1].write_bytes(checkpoint(entries[:size], signer(2), signer(3, "witness.example")))
    found = verify(page, export, keys=[str(signer().verifier), str(signer(2).verifier)], notes=notes)
    assert (found.title, found.reached, found.colour) == ("Verified, history included", "history", "good")
    assert "are newer than" not in page.text("#gaps")
    assert verify(page, export, keys=[str(signer(2).verifier), str(signer().verifier)], notes=notes[:3]).reached == "history"
    assert "the entries from 7 on are newer than every checkpoint of yours" in page.text("#gaps")
    assert verify(page, export, keys=[str(signer(2).verifier), str(signer().verifier)], notes=notes[:1]).reached == "signature"
    verify(page, export, keys=[str(signer().verifier), str(signer(2).verifier)], notes=notes)
    page.run("$('keys').value = ''; start()")
    page.wait("!document.getElementById('verdict').hidden")
    assert page.run("return document.getElementById('verdict').dataset.reached") == "content"
    assert "nobody's signature on them was checked" in page.text("#gaps")


@pytest.mark.parametrize("name", ["witness\u200d.example", "\U0001fae9", "\ufeffw", "w\x7f", "\ue000"])
def test_strange_names_of_other_signers(page: Browser, tmp_path: Path, name: str) -> None:
    """Who else signed may bear any name without spaces and plus signs (C2SP signed-note): it is unknown, and ignored."""
    entries = plain(5)
    export = write(tmp_path / "audit.zip", entries, checkpoint=checkpoint(entries, signer(3, name), signer()))
    assert verify(page, export, keys=[str(signer().verifier)]).reached == "signature"


def edit_part(lines: Lines) -> None:
    lines[2]["parts"]["facts"]["data"] = b64encode(b'{"n":3,"of":"facts"}').decode()


def edit_leaf(lines: Lines) -> None:
    lines[1]["leaf"] = b64encode(b64decode(lines[1]["leaf"]).replace(b"consent.given", b"consent.taken")).decode()


def break_leaf(lines: Lines) -> None:
    lines[1]["leaf"] = b64encode(b64decode(lines[1]["leaf"]).replace(b"leaf/v1", b"leaf/v2")).decode()


def erase_silently(lines: Lines) -> None:
    lines[2]["parts"]["person"] = None


def leave_part_out(lines: Lines) -> None:
    del lines[2]["parts"]["person"]


def add_part(lines: Lines) -> None:
    lines[2]["parts"]["zeal"] = lines[2]["parts"]["facts"]


def add_empty_part(lines: Lines) -> None:
    lines[2]["parts"]["zeal"] = None


def swap_parts(lines: Lines) -> None:
    lines[1]["parts"], lines[2]["parts"] = lines[2]["parts"], lines[1]["parts"]


def leave_entry_out(lines: Lines) -> None:
    del lines[2]


def bring_back(lines: Lines) -> None:
    salt, data = opened(1, "person")
    lines[1]["parts"]["person"] = {"salt": b64encode(salt).decode(), "data": b64encode(data).decode()}


def hide_erasure(lines: Lines) -> None:
    lines[3]["parts"]["facts"] = "withheld"


def erase_policy(lines: Lines) -> None:
    lines[0]["parts"]["facts"] = None


def short_salt(lines: Lines) -> None:
    """The same bytes, cut elsewhere between salt and data."""
    part = lines[2]["parts"]["facts"]
    whole = b64decode(part["salt"]) + b64decode(part["data"])
    part["salt"], part["data"] = b64encode(whole[:30]).decode(), b64encode(whole[30:]).decode()


def upside_down(lines: Lines) -> None:
    lines[2]["parts"] = dict(reversed(lines[2]["parts"].items()))


def loose_base64(lines: Lines) -> None:
    lines[2]["parts"]["facts"]["salt"] = lines[2]["parts"]["facts"]["salt"][:-2] + "/="


@pytest.mark.parametrize(
    ("how", "place", "words"),
    [
        (edit_part, "Entry 2", "expected part `facts` to open its commitment"),
        (short_salt, "Entry 2", "expected part `facts` to open its commitment"),
        (swap_parts, "Entry 1", "expected part `facts` to open its commitment"),
        (edit_leaf, "Entry 2", "name its predecessor's hash"),
        (break_leaf, "Entry 1", "expected a leaf of"),
        (leave_entry_out, "Entry 2", "entries are missing, added or moved"),
        (erase_silently, "Entry 2", "or a record of its erasure, found neither"),
        (leave_part_out, "Entry 2", "or a record of its erasure, found neither"),
        (add_part, "Entry 2", "only parts that its leaf commits to"),
        (add_empty_part, "Entry 2", "only parts that its leaf commits to"),
        (bring_back, "Entry 3", "to be gone as this erasure says"),
        (hide_erasure, "Entry 3", "facts of an erasure to be shown"),
        (erase_policy, "Entry 0", "which can never be erased"),
        (upside_down, "Line 3", "one spelling"),
        (loose_base64, "Line 3", "one spelling"),
    ],
)
def test_tampered(page: Browser, tmp_path: Path, how: Callable[[Lines], None], place: str, words: str) -> None:
    """Each change is found by the page as by the library, and named in one sentence with its place, signed or not."""
    entries = with_erasure()
    more = {"checkpoint": checkpoint(entries)}
    bad = change(tmp_path / "bad.zip", entries, how, **more)
    found = verify(page, bad, keys=[str(signer().verifier)])
    assert (found.title, found.colour) == ("Not valid", "bad")
    assert found.why.startswith(place + (":" if place.startswith("Entry") else " of"))
    assert words in found.why
    assert not verifies(bad)


def test_falling_time_and_other_origin(page: Browser, tmp_path: Path) -> None:
    """A well-linked entry with an earlier time, or of another log, is refused."""
    entries = plain(3)
    link = leaf_hash(entries[-1].leaf)
    parts = {"facts": opened(3, "facts")}
    early = entry(3, link, parts, t=START)
    assert "expected a recorded time" in verify(page, write(tmp_path / "early.zip", [*entries, early])).why
    other = entry(3, link, parts, t=START + 9999, origin="other.example/log")
    assert "expected it to name the log's origin" in verify(page, write(tmp_path / "other.zip", [*entries, other])).why


def signed_cut(entries: list[Entry]) -> tuple[list[Entry], dict[str, bytes]]:
    return entries[:-2], {"checkpoint": checkpoint(entries)}


def signed_other(entries: list[Entry]) -> tuple[list[Entry], dict[str, bytes]]:
    return log([("consent.withdrawn", {"facts": None})] * len(entries)), {"checkpoint": checkpoint(entries)}


def signed_by_other(entries: list[Entry]) -> tuple[list[Entry], dict[str, bytes]]:
    return entries, {"checkpoint": checkpoint(entries, signer(7))}


def signed_not(entries: list[Entry]) -> tuple[list[Entry], dict[str, bytes]]:
    return entries, {}


def signed_badly(entries: list[Entry]) -> tuple[list[Entry], dict[str, bytes]]:
    text, _, tail = checkpoint(entries).rpartition(b" ")
    data = bytearray(b64decode(tail))
    data[20] ^= 1
    return entries, {"checkpoint": text + b" " + b64encode(data) + b"\n"}


def signed_in_another_name(entries: list[Entry]) -> tuple[list[Entry], dict[str, bytes]]:
    return entries, {"checkpoint": checkpoint(entries, origin="other.example/log")}


def signed_by_witness_only(entries: list[Entry]) -> tuple[list[Entry], dict[str, bytes]]:
    return entries, {"checkpoint": checkpoint(entries, signer(3, "witness.example"))}


def signed_garbage(entries: list[Entry]) -> tuple[list[Entry], dict[str, bytes]]:
    return entries, {"checkpoint": b"a\x00" + checkpoint(entries)}


def forked_inside(entries: list[Entry]) -> tuple[list[Entry], dict[str, bytes]]:
    return entries, {"checkpoint": checkpoint(entries), "checkpoints/3": checkpoint(entries[1:4])}


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (signed_cut, "Expected 7 entries as the checkpoint in the export says, found 5"),
        (signed_other, "Expected the root over all 7 entries"),
        (signed_by_other, "Expected a signature by the given key on `checkpoint`, found none"),
        (signed_not, "this export is unsigned"),
        (signed_badly, "found one that fails"),
        (signed_in_another_name, "found another origin"),
        (signed_by_witness_only, "Expected a signature by the given key on `checkpoint`, found none"),
        (signed_garbage, "Expected a signed checkpoint in `checkpoint`"),
        (forked_inside, "those of `checkpoints/3` in the export, found others"),
    ],
)
def test_not_signed(page: Browser, tmp_path: Path, how: Signed, words: str) -> None:
    """A checkpoint that doesn't cover the log, or that the given key didn't sign, or none at all, never passes as signed."""
    entries, more = how(plain(7))
    keys = [str(signer().verifier), str(signer(3, "witness.example").verifier)]
    found = verify(page, write(tmp_path / "audit.zip", entries, **more), keys=keys)
    assert (found.title, found.colour) == ("Not valid", "bad")
    assert words in found.why


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (str(signer(1, "other.example/log").verifier), f"Expected a verifier key named `{ORIGIN}`"),
        (str(signer().verifier)[:-1] + "B", "Expected an Ed25519 verifier key"),
        ("nonsense", "Expected an Ed25519 verifier key"),
    ],
)
def test_wrong_key(page: Browser, tmp_path: Path, key: str, words: str) -> None:
    """A key of another name or one that is none is refused, not ignored."""
    entries = plain(3)
    found = verify(page, write(tmp_path / "audit.zip", entries, checkpoint=checkpoint(entries)), keys=[key])
    assert found.colour == "bad"
    assert words in found.why


def test_diverging(page: Browser, tmp_path: Path) -> None:
    """A log rewritten, cut or rolled back by the key's own holder diverges from a checkpoint that somebody kept."""
    old, key = plain(7), [str(signer().verifier)]
    kept = tmp_path / "kept"
    kept.write_bytes(checkpoint(old))
    other = log([("consent.given", {"facts": None})] * 9)
    for new, words in [(other, "first 7 entries to be those of your checkpoint `kept`"), (old[:5], "cut or rolled back")]:
        export = write(tmp_path / "audit.zip", new, checkpoint=checkpoint(new))
        found = verify(page, export, keys=key, notes=[kept])
        assert (found.title, found.reached, found.colour) == ("Diverges from a checkpoint you hold", "signature", "bad")
        assert words in found.why
    for note, words in (
        (b"no note", "Expected a signed checkpoint in `kept`"),
        (checkpoint(old[:3], signer(9)), "signature by the given key on `kept`, found none"),
        (checkpoint(old[:3]).replace(b"\n3\n", b"\n2\n"), "valid signature by the given key on `kept`, found one that fails"),
    ):
        kept.write_bytes(note)
        found = verify(page, export, keys=key, notes=[kept])
        assert (found.title, words in found.why) == ("Could not be checked", True), found.why
    kept.write_bytes(checkpoint(old[:3], signer(4, "other.example/log"), origin="other.example/log"))
    found = verify(page, export, keys=[*key, str(signer(4, "other.example/log").verifier)], notes=[kept])
    assert (found.title, "found another origin" in found.why) == ("Diverges from a checkpoint you hold", True)


def cut_short(data: bytes) -> bytes:
    return data[:-40]


def flip(data: bytes) -> bytes:
    return data[:300] + bytes([data[300] ^ 4]) + data[301:]


def other_checksum(data: bytes) -> bytes:
    at = data.index(b"PK\1\2") + 16
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def other_size(data: bytes) -> bytes:
    at = data.index(b"PK\1\2") + 24
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def no_zip(data: bytes) -> bytes:
    return b"PK" + bytes(500)


def nothing(data: bytes) -> bytes:
    return b""


def encrypted(data: bytes) -> bytes:
    at = data.index(b"PK\1\2") + 8
    return data[:at] + b"\1" + data[at + 1 :]


@pytest.mark.parametrize("how", [cut_short, flip, other_checksum, other_size, no_zip, nothing, encrypted])
def test_damaged(page: Browser, tmp_path: Path, how: Callable[[bytes], bytes]) -> None:
    """A damaged or foreign zip is said to be one."""
    export = write(tmp_path / "audit.zip", plain(9))
    export.write_bytes(how(export.read_bytes()))
    found = verify(page, export)
    assert found.colour == "bad"
    assert found.why.startswith("Expected an export" if how is nothing else "Expected a whole zip file") or (
        how is flip and found.why.startswith(("Line", "Entry"))
    )
    assert page.complaints() == []


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_foreign(page: Browser, tmp_path: Path) -> None:
    """No log, two logs, a log packed beyond measure, a line beyond measure: refused."""
    export = tmp_path / "audit.zip"
    with zipfile.ZipFile(export, "w") as archive:
        archive.writestr("other.txt", b"")
    assert "Expected `log.ndjson` in the zip, found none" in verify(page, export).why
    with zipfile.ZipFile(export, "w") as archive:
        archive.writestr("log.ndjson", b"")
        archive.writestr("log.ndjson", format_line(plain(1)[0]))
    assert "one name twice" in verify(page, export).why
    assert "packed by less than a thousand times" in verify(page, write(export, b"\n" * 9_000_000)).why
    noise = random.Random(5).randbytes(6_100_000).hex().encode()
    assert "Line 1 of `log.ndjson`: expected at most" in verify(page, write(export, noise)).why


def test_policies_beside_the_log(page: Browser, tmp_path: Path) -> None:
    """A policy in the zip that is not one of the log's, or is not there, is invalid, signed and kept though the log is."""
    shop = Shop()
    kept = tmp_path / "kept"
    kept.write_bytes(shop.ledger.checkpoint())
    true, forged = export_policies(shop, tmp_path)
    assert verify(page, true, keys=[shop.ledger.verifier], notes=[kept]).reached == "history"
    for path in forged:
        found = verify(page, path, keys=[shop.ledger.verifier], notes=[kept])
        assert (found.title, found.reached, found.colour) == ("Not valid", "chain", "bad"), path.name
        assert "polic" in found.why.lower()
    assert page.complaints() == []


def test_partial(page: Browser, tmp_path: Path) -> None:
    """With parts withheld the verdict itself says that the export is partial, at every level."""
    entries = plain(5)
    shown = [one._replace(parts={**one.parts, "facts": WITHHELD}) if one.index == 2 else one for one in entries]
    export = write(tmp_path / "audit.zip", shown, checkpoint=checkpoint(entries))
    kept = tmp_path / "kept"
    kept.write_bytes(checkpoint(entries[:2]))
    assert verify(page, export).title.startswith("Partial export: ")
    found = verify(page, export, keys=[str(signer().verifier)], notes=[kept])
    assert (found.reached, found.colour) == ("history", "warn")
    assert found.title.startswith("Partial export: ")
    assert "withheld parts (1)" in page.text("#gaps")
    assert "2, some withheld" in page.text("#rows")


def test_text_stays_text(page: Browser, tmp_path: Path) -> None:
    """What an entry says is shown as text, also where it looks like a page, and bytes that aren't JSON as they are."""
    evil = "<script>document.title='owned'</script><img src=x onerror=document.title='owned'>"
    doubled = {"facts": b'{"a":1,"a":2}'}
    shapes = [("consent.given", {"facts": None, "person": codec.encode({"note": evil})}), ("consent.given", doubled)]
    verify(page, write(tmp_path / "audit.zip", log(shapes)))
    page.click("#rows button")
    page.wait("document.querySelector('#entry pre')")
    assert evil in page.text("#entry")
    assert page.run("return document.querySelectorAll('#list script, #list img').length") == 0
    assert page.run("return document.title") == "Verify a consent log"
    page.fill("#index", "1\n")
    page.wait("document.querySelector('#entry h3')?.textContent === 'Entry 1' && document.querySelector('#entry pre')")
    assert '{"a":1,"a":2}' in page.text("#entry")
    assert "not canonical JSON" in page.text("#entry")


class _Listener(BaseHTTPRequestHandler):
    heard: list[str] = []  # noqa: RUF012

    def do_GET(self) -> None:
        self.heard.append(self.path)
        self.send_response(204)
        self.end_headers()

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""


@needs_browser
def test_no_network(page: Browser, tmp_path: Path) -> None:
    """Neither the page nor a worker of its can reach anything, even when told to; nor can a script be put into it."""
    _Listener.heard.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Listener)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        verify(page, write(tmp_path / "audit.zip", plain(3)))
        loaded = page.run("return performance.getEntriesByType('resource').map((one) => one.name)")
        assert [name for name in loaded if not name.startswith("blob:")] == []
        blocked = page.run(
            """
            const url = arguments[0];
            const source = `fetch("${url}worker").then(() => postMessage("open"), () => postMessage("blocked"))`;
            const worker = new Worker(URL.createObjectURL(new Blob([source])));
            const image = new Image(), script = document.createElement("script");
            script.textContent = "window.owned = true";
            document.body.append(script);
            navigator.sendBeacon(url + "beacon", "x");
            image.src = url + "image";
            return Promise.all([
              fetch(url + "fetch").then(() => "open", () => "blocked"),
              new Promise((resolve) => { worker.onmessage = ({ data }) => resolve(data); }),
              new Promise((resolve) => { image.onload = () => resolve("open"); image.onerror = () => resolve("blocked"); }),
              window.owned ? "open" : "blocked",
            ]);
            """,
            f"http://127.0.0.1:{server.server_port}/",
        )
    finally:
        server.shutdown()
        server.server_close()
    assert blocked == ["blocked"] * 4
    assert _Listener.heard == []
    page.complaints()


def test_zip64(page: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A zip whose directory and sizes are of the 64-bit form is read."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 100)
    export = write(tmp_path / "audit.zip", plain(9))
    assert b"PK\6\6" in export.read_bytes()
    assert verify(page, export).reached == "content"


def test_without_worker(page: Browser, tmp_path: Path) -> None:
    """Where no worker can be made the page does the work itself."""
    page.run("globalThis.Worker = undefined")
    assert verify(page, write(tmp_path / "audit.zip", plain(70))).reached == "content"
    page.click("#rows button")
    page.wait("document.querySelector('#entry pre')")


def test_without_ed25519(page: Browser, tmp_path: Path) -> None:
    """Where the browser can't check a signature the page says so, and that nothing is verified."""
    refuse = "crypto.subtle.importKey = () => Promise.reject(new DOMException('no', 'NotSupportedError'))"
    page.run(f"globalThis.Worker = undefined; {refuse}")
    entries = plain(3)
    export = write(tmp_path / "audit.zip", entries, checkpoint=checkpoint(entries))
    found = verify(page, export, keys=[str(signer().verifier)])
    assert (found.title, found.reached, found.colour) == ("Could not be checked", "content", "bad")
    assert found.why.startswith("This browser can't check Ed25519 signatures")


def test_list(page: Browser, tmp_path: Path) -> None:
    """Entries are paged, filtered by kind and found by index, with the keyboard alone."""
    shapes = [("consent.given" if index % 3 else "consent.withdrawn", {"facts": None}) for index in range(180)]
    verify(page, write(tmp_path / "audit.zip", log(shapes)))
    assert page.text("#page") == "1 to 50 of 180"
    page.click("#next")
    assert page.text("#page") == "51 to 100 of 180"
    page.fill("#kind", "consent.withdrawn")
    assert page.text("#page") == "1 to 50 of 60"
    page.click("#next")
    assert page.text("#page") == "51 to 60 of 60"
    assert page.text("#rows").split("\n")[0].startswith("150 ")
    page.fill("#index", "179\n")
    page.wait("document.activeElement.id === 'entry'")
    assert page.text("#page") == "151 to 180 of 180"
    assert '"n": 179' in page.text("#entry")
    page.run("document.querySelector('#rows button').focus()")
    page.press("\ue007")
    page.wait("document.querySelector('#entry h3') && document.querySelector('#entry h3').textContent === 'Entry 150'")
    assert page.run("return document.querySelectorAll('#drawing rect').length") > 50


def test_dropped_files(page: Browser, tmp_path: Path) -> None:
    """Files dropped on the page are the export and earlier checkpoints; a verdict goes as soon as something is changed."""
    entries = plain(4)
    export = write(tmp_path / "audit.zip", entries, checkpoint=checkpoint(entries))
    page.run(
        """
        const bytes = (text) => Uint8Array.from(atob(text), (one) => one.charCodeAt(0)), moved = new DataTransfer();
        moved.items.add(new File([bytes(arguments[0])], "audit.zip"));
        moved.items.add(new File([bytes(arguments[1])], "kept"));
        document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: moved, bubbles: true, cancelable: true }));
        """,
        b64encode(export.read_bytes()).decode(),
        b64encode(checkpoint(entries[:2])).decode(),
    )
    assert page.text("#chosen") == "Chosen: audit.zip. Earlier checkpoints: 1."
    page.fill("#keys", str(signer().verifier))
    page.click("#start")
    page.wait("!document.getElementById('verdict').hidden")
    assert page.text("#verdict-title") == "Verified, history included"
    page.fill("#keys", "x")
    assert page.run("return document.getElementById('verdict').hidden") is True


def test_languages(page: Browser, tmp_path: Path) -> None:
    """The page speaks Danish too: every sentence, and each that a problem can be named by."""
    text = PAGE.read_text()
    codes = {*re.findall(r'new Problem\("(\w+)"', text), *re.findall(r'"(gap_\w+)"', text)}
    codes |= {"diverges", "diverges_inside", "unreadable", "unexpected"}
    assert {"silent", "zip", "gap_unsigned"} <= codes
    english, danish, renamed = page.run("return [Object.keys(WORDS.en), Object.keys(WORDS.da), CODES]")
    assert english == danish
    assert {renamed.get(code, code) for code in codes} <= set(english)
    verify(page, write(tmp_path / "audit.zip", plain(3)))
    page.click("#language")
    assert page.text("h1") == "Kontrollér en samtykkelog"
    assert page.text("#verdict-title") == "Uændret, men ikke vist underskrevet"
    assert page.run("return document.documentElement.lang") == "da"


def judge(page: Browser, exports: Sequence[Path]) -> list[list[Any]]:
    """The page's own judgement of many exports: whether it is good, how many entries, the root."""
    return page.run(
        """
        const judge = (text) => new Promise((resolve) => {
          const file = new File([Uint8Array.from(atob(text), (one) => one.charCodeAt(0))], "x");
          const port = { postMessage: ({ done }) => { if (done) resolve([done.ok, done.size, done.root]); } };
          verifier(port);
          port.onmessage({ data: { verify: { file, keys: [], notes: [] } } });
        });
        return arguments[0].reduce(async (found, text) => [...await found, await judge(text)], []);
        """,
        [b64encode(export.read_bytes()).decode() for export in exports],
    )


def test_every_length(page: Browser, tmp_path: Path) -> None:
    """Parts of every length from 0 to 200 bytes and logs of every size to 40 have the hashes and roots of the library."""
    long = log([("consent.given", {"facts": b"x" * length}) for length in range(200)])
    logs = [long, *(plain(size) for size in range(40))]
    exports = [write(tmp_path / f"{place}.zip", one) for place, one in enumerate(logs)]
    wanted = [[True, len(one), base64(merkle.root([leaf_hash(each.leaf) for each in one])).decode()] for one in logs]
    assert judge(page, exports) == wanted


def test_agrees_with_the_library(page: Browser, tmp_path: Path) -> None:
    """Of a log with one byte changed, gone or added, page and library say the same, and never that it is good."""
    chance = random.Random(2024)
    whole = b"".join(map(format_line, with_erasure()))
    odd = [b"\n", whole + b"\n", b"\xef\xbb\xbf" + whole, whole.replace(b"\n", b"\r\n"), whole + whole, whole[:-1], whole[:-2]]
    odd.append(whole.replace(b'"i":1', b'"i":01'))
    for _ in range(120):
        at = chance.randrange(len(whole))
        byte = bytes([chance.choice(b'AZaz09+/="{}:,\n \\\x00\xff')])
        before, after = whole[:at], whole[at + 1 :]
        odd.append(chance.choice([before + byte + after, before + after, before + byte + whole[at:]]))
    exports = [write(tmp_path / f"{place}.zip", one) for place, one in enumerate(one for one in odd if one != whole)]
    found = [good for good, *_ in judge(page, exports)]
    assert found == [verifies(export) for export in exports] == [False] * len(exports)
    assert judge(page, [write(tmp_path / "good.zip", whole)])[0][0]


def erasing(data: bytes) -> list[Entry]:
    """A log whose second entry is an erasure with these facts, of the first's person part."""
    entries = log([("consent.given", {"facts": None, "person": None}), ("part.erased", {"facts": data})])
    return [without(entries[0], "person"), entries[1]]


def test_erasures_agree_with_the_library(page: Browser, tmp_path: Path) -> None:
    """What an erasure says is read as strictly as the library reads it."""
    good = [b'{"parts":[[0,"person"]]}', '{"by":"Å\u2028\x7f\\u0001\\n","parts":[[0,"person"]],"z":-5}'.encode()]
    bad = [
        b'{"parts":[[0,"person"]] }',
        b'{"parts":[[0,"person"]],"by":"x"}',
        b'{"parts":[[0.0,"person"]]}',
        b'{"parts":[[-0,"person"]]}',
        b'{"parts":[[0,"person",1]]}',
        b'{"parts":[[false,"person"]]}',
        b'{"parts":[["0","person"]]}',
        b'{"parts":[[1,"facts"]]}',
        b'{"parts":[[0,"facts"]]}',
        b'{"parts":[]}',
        b'{"parts":null}',
        b"[]",
        b"null",
        b'{"big":9007199254740992,"parts":[[0,"person"]]}',
        b'{"by":"\\ud800","parts":[[0,"person"]]}',
        '{"by":"A\u030a","parts":[[0,"person"]]}'.encode(),
        '{"parts":[[0,"person"]],"å":1}'.encode(),
        b'{"by":' + b"[" * 40 + b"]" * 40 + b',"parts":[[0,"person"]]}',
        b'{"by":1,"by":1,"parts":[[0,"person"]]}',
        b'{"by":"\\u0041","parts":[[0,"person"]]}',
        b'{"by":"\xff","parts":[[0,"person"]]}',
    ]
    exports = [write(tmp_path / f"{place}.zip", erasing(data)) for place, data in enumerate([*good, *bad])]
    found = [ok for ok, *_ in judge(page, exports)]
    assert found == [verifies(export) for export in exports]
    assert found == [True] * len(good) + [False] * len(bad)


def test_first_entry_names_the_genesis(page: Browser, tmp_path: Path) -> None:
    """A log that begins in the middle, renumbered, is refused at its first entry."""
    first = entry(0, leaf_hash(b"something before"), {"facts": opened(0, "facts")}, t=START)
    assert verify(page, write(tmp_path / "audit.zip", [first])).why.startswith(
        "Entry 0: expected it to name its predecessor's hash"
    )
    fine = entry(0, genesis(ORIGIN), {"facts": opened(0, "facts")}, t=START)
    assert verify(page, write(tmp_path / "audit.zip", [fine])).reached == "content"


def raw(names: Sequence[str], *, index: str = "0", t: str = str(START), kind: str = "consent.given", end: str = "\n") -> bytes:
    """The line of a first entry whose leaf is written by hand; its parts are withheld."""
    value = b64encode(genesis(ORIGIN)).decode()
    leaf = "\n".join(["consentlib.dev/leaf/v1", ORIGIN, index, value, t, kind, *(f"{name} {value}" for name in names)]) + end
    return format_line(Entry(0, leaf.encode(), dict.fromkeys(names, WITHHELD)))


def test_leaves_agree_with_the_library(page: Browser, tmp_path: Path) -> None:
    """A leaf is read as strictly as the library reads it: order, limits and spelling."""
    letters = "abcdefghijklmnopq"
    good = [raw(["facts", "person"]), raw(letters[:16]), raw(["facts.1", "facts.10", "facts.2"])]
    bad = [
        raw(["person", "facts"]),
        raw(["facts", "facts"]),
        raw([]),
        raw(letters),
        raw([letter * 12 for letter in letters[:16]]),
        raw(["facts.0"]),
        raw(["facts."]),
        raw(["facts"], index="00"),
        raw(["facts"], t="253402300800000"),
        raw(["facts"], t="-1"),
        raw(["facts"], kind="Consent"),
        raw(["facts"], end=""),
        raw(["facts"], end="\r\n"),
        raw(["facts"], end="\n\n"),
    ]
    exports = [write(tmp_path / f"{place}.zip", line) for place, line in enumerate([*good, *bad])]
    found = [ok for ok, *_ in judge(page, exports)]
    assert found == [verifies(export) for export in exports]
    assert found == [True] * len(good) + [False] * len(bad)


def test_disclosure(page: Browser, tmp_path: Path) -> None:
    """One person's entries are called a part of the log at every level, with what of that was not checked."""
    shop = two_people()
    kept = tmp_path / "kept"
    kept.write_bytes(shop.ledger.checkpoint())
    shop.ledger.disclose(ANN, path := tmp_path / "anna.zip")
    told = [shop.ledger.verifier]
    for level, keys, notes in (("content", [], []), ("signature", told, []), ("history", told, [kept])):
        found = verify(page, path, keys=keys, notes=notes)
        assert (found.reached, found.colour) == (level, "warn")
        assert found.title.startswith("A part of the log, 6 of 11 entries: what is shown is ")
        assert "may have been left out of it" in page.text("#gaps")
        assert "Chain\nnot checked" in page.text("#levels")
    shown = [int(row.split()[0]) for row in page.text("#rows").split("\n")]
    assert shown == [one.index for one in shop.ledger.history(ANN)]
    page.fill("#index", f"{shown[-1]}\n")
    page.wait("document.querySelector('#entry h3') && document.querySelector('#entry pre')")
    assert page.text("#entry").startswith(f"Entry {shown[-1]}")
    assert '"scope": "person"' in page.text("#entry")
    files = members(path)
    hide_part(files)
    verify(page, pack(tmp_path / "hidden.zip", files), keys=[shop.ledger.verifier])
    assert "said to be erased (1)" in page.text("#gaps")
    other = Shop("memory:", keys=shop.ledger._keys)
    while other.ledger.verify().size < 11:
        other.ledger.withdraw("bo@example.dk", limited=True)
    kept.write_bytes(other.ledger.checkpoint())
    assert verify(page, path, keys=[shop.ledger.verifier], notes=[kept]).title == "Diverges from a checkpoint you hold"
    assert page.complaints() == []


def test_broken_disclosures(page: Browser, tmp_path: Path) -> None:
    """Whatever is put together otherwise, or has a byte changed, gone or added, the page does not call good."""
    shop = two_people()
    shop.ledger.erase(ANN, by="dpo", reason="art17")
    shop.ledger.disclose(ANN, path := tmp_path / "anna.zip")
    files, exports = signed_for(path), [path]
    for change in BAD:
        one = dict(files)
        change(one)
        exports.append(pack(tmp_path / f"{change.__name__}.zip", one))
    for name, data in files.items():
        if name == "checkpoint":
            continue  # its signature is not looked at here
        for at in range(0, len(data), max(1, len(data) // 5)):
            for new in {data[:at] + one for one in (bytes([data[at] ^ 1]) + data[at + 1 :], data[at + 1 :], b"A" + data[at:])}:
                exports.append(pack(tmp_path / f"{len(exports)}.zip", {**files, name: new}))
    found = [good for start in range(0, len(exports), 20) for good, *_ in judge(page, exports[start : start + 20])]
    assert found == [True] + [False] * (len(exports) - 1)
