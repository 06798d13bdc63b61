"""The one-file verifier: real exports reach their level, each protection refuses, no input makes it fall over."""

import ast
import contextlib
import importlib.util
import io
import json
import os
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

import consentlib
from consentlib import codec
from consentlib.audit.verify import verify_file
from consentlib.errors import ConsentlibError, FormatError, VerificationError
from consentlib.log import WITHHELD, Entry, commitment, format_line, genesis, leaf_hash, merkle, parse_line
from consentlib.log.checkpoint import Checkpoint
from consentlib.log.leaf import base64
from consentlib.log.note import Signer, Verifier, open_note, sign_note
from shop import Shop

SCRIPT = Path(consentlib.__file__).parent / "audit" / "standalone" / "verify.py"
VECTORS = Path(os.environ.get("CONSENTLIB_VECTORS", Path(__file__).parents[3] / "shared" / "vectors"))
ORIGIN = "littlesteps/consent"


def load() -> Any:
    """The script as a module, read from its file as an auditor would run it."""
    spec = importlib.util.spec_from_file_location("standalone_verify", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


script = load()


def sign(seed: bytes, message: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(seed).sign(message)


def signer(name: str = ORIGIN, seed: int = 1) -> Signer:
    key = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32).public_key().public_bytes_raw()
    return Signer(name, bytes([seed]) * 32, key)


KEY = str(signer().verifier)


def note(lines: Sequence[bytes], size: int | None = None, *signers: Signer, origin: str = ORIGIN, root: bytes = b"") -> bytes:
    """A signed checkpoint over the first `size` lines."""
    size = len(lines) if size is None else size
    root = root or merkle.root([leaf_hash(parse_line(line).leaf) for line in lines[:size]])
    return sign_note(Checkpoint(origin, size, root).text(), signers or [signer()], sign)


def pack(path: Path, log: Sequence[bytes] | bytes, files: Mapping[str, bytes] = {}) -> Path:
    """An export's zip."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("log.ndjson", log if isinstance(log, bytes) else b"".join(log))
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def run(path: Path, *arguments: str | Path) -> tuple[int, dict[str, Any]]:
    """Exit code and report."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = script.main([str(path), "--json", *map(str, arguments)])
    found = json.loads(out.getvalue())
    assert found["exit"] == code
    assert (found["verdict"] == "verified") == (code in (0, 10))
    assert all("\n" not in line and line.isascii() for line in [found.get("problem", "")])
    return code, found


def refused(path: Path, *arguments: str | Path, code: int = 40) -> str:
    """The one line that says why."""
    got, found = run(path, *arguments)
    assert got == code, found
    with contextlib.redirect_stdout(io.StringIO()) as out:
        script.main([str(path), *map(str, arguments)])
    assert out.getvalue() == f"{found['verdict'].upper()}: {found['problem']}\n"
    assert "verified" not in out.getvalue().lower()
    return str(found["problem"])


@pytest.fixture(scope="module", params=["memory", "sqlite"])
def export(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A real export with erased people in it."""
    folder = tmp_path_factory.mktemp("export")
    shop = Shop("memory:" if request.param == "memory" else f"sqlite:///{folder}/shop.db")
    for name in ("ann", "bo", "carl", "dora"):
        shop.sign_up(f"{name}@example.dk")
        shop.clock.tick(60)
    shop.ledger.withdraw("carl@example.dk")
    shop.ledger.erase("bo@example.dk", reason="art17", by="dpo")
    shop.sign_up("emil@example.dk")
    path = folder / "audit.zip"
    shop.ledger.export(path)
    report = shop.ledger.verify()
    shop.ledger.close()
    with zipfile.ZipFile(path) as archive:
        lines = archive.read("log.ndjson").splitlines(keepends=True)
        kept = {name: archive.read(name) for name in archive.namelist() if name.split("/")[0] in ("policy", "README.txt")}
    pack(path, lines, kept)  # unsigned, so that each test signs as it needs
    return SimpleNamespace(path=path, lines=lines, files=kept, report=report, folder=folder)


def test_content_of_an_unsigned_export(export: SimpleNamespace) -> None:
    """Without checkpoint the level is `content`, the exit code 10, size, root, times and erasures are those of the library."""
    code, found = run(export.path)
    report = export.report
    assert (code, found["level"], found["partial"]) == (10, "content", False)
    assert (found["origin"], found["entries"], found["root"]) == (ORIGIN, report.size, base64(report.root).decode())
    times = [codec.read_time(found[name]) for name in ("first_time", "last_time")]
    assert times == [report.first_time, report.last_time]
    assert (found["erased"], found["withheld"]) == (report.erased, 0)
    assert report.erased > 0
    assert any("UNSIGNED" in line for line in found["not_checked"])


def test_signature_and_history(export: SimpleNamespace, tmp_path: Path) -> None:
    """The pinned key lifts it to `signature`, a checkpoint kept from earlier to `history` and exit code 0."""
    lines, size = export.lines, len(export.lines)
    files = {**export.files, "checkpoint": note(lines), **{f"checkpoints/{n}": note(lines, n) for n in (0, 1, 5, size)}}
    path = pack(tmp_path / "signed.zip", lines, files)
    assert (run(path)[0], run(path)[1]["level"]) == (10, "content")
    code, found = run(path, "--key", KEY)
    assert (code, found["level"]) == (10, "signature")
    kept = [tmp_path / "a", tmp_path / "b"]
    kept[0].write_bytes(note(lines, 3))
    kept[1].write_bytes(note(lines, 7, signer("witness.example", 9), signer()))
    options = ["--key", KEY, "--checkpoint", kept[0], "--checkpoint", kept[1], "--origin", ORIGIN]
    code, found = run(path, *options, "--newest-after", "2026-03-02T10:00:00Z")
    assert (code, found["level"]) == (0, "history")
    assert "history: entries from 7 on are newer than every checkpoint you kept" in found["not_checked"]
    assert "no entry" not in str(found)
    done = subprocess.run(
        [sys.executable, "-I", "-W", "error", SCRIPT, path, *options], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"VERIFIED to level `history`: log `{ORIGIN}`, {size} entries\n")


@pytest.mark.parametrize("name", ["witness\u200d.example", "\U0001fae9", "\ufeffw", "w\x7f", "\ue000"])
def test_strange_names_of_other_signers(export: SimpleNamespace, tmp_path: Path, name: str) -> None:
    """Who else signed may bear any name without spaces and plus signs (C2SP signed-note): it is unknown, and ignored."""
    path = pack(
        tmp_path / "signed.zip",
        export.lines,
        {**export.files, "checkpoint": note(export.lines, None, signer(name, 9), signer())},
    )
    code, found = run(path, "--key", KEY)
    assert (code, found["level"]) == (10, "signature")
    assert verify_file(path, verifiers=[Verifier.parse(KEY)]).level == "signature"


def test_an_empty_kept_checkpoint_pins_nothing(export: SimpleNamespace, tmp_path: Path) -> None:
    """A kept checkpoint of size 0 fits every log, so it does not lift the level to `history`."""
    path = pack(tmp_path / "signed.zip", export.lines, {**export.files, "checkpoint": note(export.lines)})
    (tmp_path / "kept").write_bytes(note(export.lines, 0))
    code, found = run(path, "--key", KEY, "--checkpoint", tmp_path / "kept")
    assert (code, found["level"]) == (10, "signature")


def test_withheld_parts_make_it_partial(export: SimpleNamespace, tmp_path: Path) -> None:
    """With a part withheld everything else may hold, yet the first line says IN PART and the exit code is not 0."""
    lines = [*export.lines]
    entry = parse_line(lines[1])
    lines[1] = lines[1][: lines[1].index(b'"parts":')] + b'"parts":{%b}}\n' % b",".join(
        b'"%b":"withheld"' % name.encode() for name in sorted(entry.parts)
    )
    path = pack(tmp_path / "partial.zip", lines, {**export.files, "checkpoint": note(export.lines)})
    (tmp_path / "kept").write_bytes(note(export.lines, 3))
    code, found = run(path, "--key", KEY, "--checkpoint", tmp_path / "kept")
    assert (code, found["level"], found["partial"], found["withheld"]) == (10, "history", True, len(entry.parts))
    assert script.show(found).startswith("VERIFIED IN PART to level `history`")


def test_an_empty_log(tmp_path: Path) -> None:
    """An export without entries is consistent, and can be signed."""
    path = pack(tmp_path / "empty.zip", b"", {"checkpoint": note([])})
    code, found = run(path, "--key", KEY)
    assert (code, found["level"], found["entries"], found["first_time"]) == (10, "signature", 0, None)
    assert found["root"] == base64(merkle.EMPTY_ROOT).decode()


def test_stands_alone() -> None:
    """The script imports the standard library only, and the library never imports the script."""
    used = {
        name
        for node in ast.walk(ast.parse(SCRIPT.read_text()))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names])
    }
    assert used <= sys.stdlib_module_names
    assert not [path for path in SCRIPT.parents[2].rglob("*.py") if "audit.standalone" in path.read_text()]


# ---- Ed25519 and notes


def vectors(name: str) -> Path:
    if not (VECTORS / name).exists():
        pytest.skip(f"no vectors `{name}` here")
    return VECTORS / name


def test_wycheproof() -> None:
    """Every Wycheproof Ed25519 vector has the verdict it must have."""
    groups = json.loads(vectors("wycheproof/ed25519_test.json").read_text())["testGroups"]
    probes = [(bytes.fromhex(group["publicKey"]["pk"]), test) for group in groups for test in group["tests"]]
    assert len(probes) > 100
    for key, test in probes:
        holds = script.ed25519_holds(key, bytes.fromhex(test["sig"]), bytes.fromhex(test["msg"]))
        assert holds == (test["result"] == "valid"), test


SMALL_ORDER = [
    (1).to_bytes(32, "little"),
    (2**255 - 20).to_bytes(32, "little"),
    bytes(32),
    bytes(31) + b"\x80",
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
]


@pytest.mark.parametrize("key", SMALL_ORDER, ids=bytes.hex)
def test_keys_of_small_order(key: bytes) -> None:
    """A key of small order, under which one signature fits many messages, is refused."""
    assert script.decode_point(key) is not None
    forged = (1).to_bytes(32, "little") + bytes(32)
    assert not any(script.ed25519_holds(key, forged, b"%d" % number) for number in range(16))


def test_one_encoding_only() -> None:
    """S of L and more, y of p and more, and x = 0 with a sign are refused, though the sums would come out right."""
    one = signer()
    good = sign(one.seed, b"text")
    assert script.ed25519_holds(one.key, good, b"text")
    more = (int.from_bytes(good[32:], "little") + script.L).to_bytes(32, "little")
    assert not script.ed25519_holds(one.key, good[:32] + more, b"text")
    assert script.decode_point((2**255 - 18).to_bytes(32, "little")) is None
    assert script.decode_point((1 + 2**255).to_bytes(32, "little")) is None
    assert script.decode_point(one.key[:31]) is None
    assert not script.ed25519_holds(one.key, good + b"\0", b"text")


@settings(max_examples=25, deadline=None)
@given(message=st.binary(max_size=200), at=st.integers(0, 511))
def test_signatures_of_the_other_implementation(message: bytes, at: int) -> None:
    """What `cryptography` signs holds, and with any one bit changed does not."""
    one = signer(seed=3)
    signature = sign(one.seed, message)
    assert script.ed25519_holds(one.key, signature, message)
    changed = (int.from_bytes(signature, "big") ^ 1 << at).to_bytes(64, "big")
    assert not script.ed25519_holds(one.key, changed, message)


def test_note_of_the_specification() -> None:
    """The signature line of the C2SP note vector holds under its key, and not over another text."""
    keys = dict([script.read_key("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k")])
    line = "— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM="
    assert script.check_signature(line, "This is an example message.\n", keys) == ("example.com/foo", b"\x53\x0d\x90\x3a")
    with pytest.raises(script.Refused, match="fails"):
        script.check_signature(line, "This is another message.\n", keys)
    assert script.check_signature(line, "anything\n", {}) is None


def test_tessera_checkpoints() -> None:
    """The sixteen checkpoints of another log's implementation are read and hold under its key."""
    folder = vectors("tessera-log")
    keys = dict([script.read_key("example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx")])
    for number in range(16):
        found = script.read_checkpoint((folder / f"checkpoint.{number}").read_bytes(), keys)
        assert (found.origin, found.signers) == ("example.com/log/testdata", {*keys})


NOTE = note([], 0)
SIGNATURE = NOTE.decode().split("\n\n")[1]
BAD_NOTES = {
    "empty": b"",
    "no signature": NOTE[: NOTE.index(b"\n\n") + 2],
    "no blank line": NOTE.replace(b"\n\n", b"\n"),
    "control character": NOTE.replace(b"/consent", b"/\x1bconsent", 1),
    "carriage return": NOTE.replace(b"\n\n", b"\r\n\r"),
    "tab in the signature": NOTE[:-1] + b"\t\n",
    "not UTF-8": NOTE[:-1] + b"\xff\n",
    "space in base64": NOTE[:-6] + b" " + NOTE[-6:],
    "loose base64": NOTE[:-5] + b"=" + NOTE[-5:],
    "one byte flipped": sign_note(f"{ORIGIN}\n0\n{base64(merkle.EMPTY_ROOT).decode()}\n", [signer()], lambda *_: bytes(64)),
    "leading zero": sign_note(f"{ORIGIN}\n00\n{base64(merkle.EMPTY_ROOT).decode()}\n", [signer()], sign),
    "negative": sign_note(f"{ORIGIN}\n-0\n{base64(merkle.EMPTY_ROOT).decode()}\n", [signer()], sign),
    "extension": sign_note(f"{ORIGIN}\n0\n{base64(merkle.EMPTY_ROOT).decode()}\nmore\n", [signer()], sign),
    "huge size": sign_note(f"{ORIGIN}\n{2**53}\n{base64(merkle.EMPTY_ROOT).decode()}\n", [signer()], sign),
    "signatures without end": NOTE + (SIGNATURE.replace("littlesteps", "x") * 100).encode(),
    "huge": NOTE + b"\xe2\x80\x94 x %b\n" % base64(os.urandom(800_000)),
}


@pytest.mark.parametrize("bad", BAD_NOTES.values(), ids=BAD_NOTES)
def test_bad_notes(bad: bytes, tmp_path: Path) -> None:
    """A note that is not in form or does not hold is refused in the export, and as a kept checkpoint; the library agrees."""
    assert refused(pack(tmp_path / "a.zip", b"", {"checkpoint": bad}), "--key", KEY).startswith("`checkpoint`: ")
    (tmp_path / "kept").write_bytes(bad)
    whole = pack(tmp_path / "b.zip", b"", {"checkpoint": NOTE})
    assert refused(whole, "--key", KEY, "--checkpoint", tmp_path / "kept", code=2).startswith("--checkpoint 1: ")

    def verify(key: bytes, signature: bytes, message: bytes) -> bool:
        return bool(script.ed25519_holds(key, signature, message))

    with pytest.raises((FormatError, VerificationError)):
        Checkpoint.parse(open_note(bad, [signer().verifier], verify).text)


# ---- The export's and the auditor's checkpoints


def other_root(lines: Sequence[bytes]) -> bytes:
    return note(lines, root=bytes(32))


BAD_FILES: dict[str, tuple[Callable[[Sequence[bytes]], dict[str, bytes]], str]] = {
    "unsigned": (lambda lines: {}, "found an unsigned one"),
    "another key": (lambda lines: {"checkpoint": note(lines, None, signer(seed=2))}, "found only other keys"),
    "another name": (lambda lines: {"checkpoint": note(lines, None, signer("other.dk"))}, "found only other keys"),
    "another origin": (lambda lines: {"checkpoint": note(lines, origin="other.dk")}, "of this very log"),
    "shorter": (lambda lines: {"checkpoint": note(lines, 5)}, "of this very log"),
    "another root": (lambda lines: {"checkpoint": other_root(lines)}, "of this very log"),
    "earlier, another root": (
        lambda lines: {"checkpoint": note(lines), "checkpoints/4": note(lines, 4, root=bytes(32))},
        "`checkpoints/4` contradicts the log: at size 4",
    ),
    "earlier, misnamed": (lambda lines: {"checkpoint": note(lines), "checkpoints/4": note(lines, 5)}, "of that size"),
    "earlier, strange name": (lambda lines: {"checkpoint": note(lines), "checkpoints/04": note(lines, 4)}, "named by size"),
    "earlier, from the future": (
        lambda lines: {"checkpoint": note(lines), "checkpoints/900": note(lines, 900, root=bytes(32))},
        "covers 900 entries",
    ),
    "earlier, of another log": (
        lambda lines: {"checkpoint": note(lines), "checkpoints/4": note(lines, 4, origin="other.dk")},
        "of another origin",
    ),
}


@pytest.mark.parametrize(("files", "problem"), BAD_FILES.values(), ids=BAD_FILES)
def test_bad_checkpoints(files: Any, problem: str, export: SimpleNamespace, tmp_path: Path) -> None:
    """An export that does not carry the signature asked for, or carries a checkpoint that is not of this log, is invalid."""
    keys = [KEY, str(signer("other.dk").verifier)]
    path = pack(tmp_path / "bad.zip", export.lines, files(export.lines))
    assert problem in refused(path, "--key", keys[0], "--key", keys[1])


def test_divergence(export: SimpleNamespace, tmp_path: Path) -> None:
    """Another root, a size from the future or another origin in a kept checkpoint is divergence, exit code 30."""
    path = pack(tmp_path / "signed.zip", export.lines, {"checkpoint": note(export.lines)})
    keys = ["--key", KEY, "--key", str(signer("other.dk").verifier)]
    for kept, problem in (
        (note(export.lines, 4, root=bytes(32)), "at size 4 it has another root"),
        (note(export.lines, len(export.lines) + 1, root=bytes(32)), "and the log has only"),
        (note(export.lines, 4, signer("other.dk"), origin="other.dk"), "of another origin"),
    ):
        (tmp_path / "kept").write_bytes(kept)
        assert problem in refused(path, *keys, "--checkpoint", tmp_path / "kept", code=30)


def test_what_cannot_be_used(export: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Keys, checkpoints, times and paths that can't be used end with exit code 2 and one line."""
    (tmp_path / "kept").write_bytes(note(export.lines, 4, signer(seed=2)))
    assert "found none" in refused(export.path, "--key", KEY, "--checkpoint", tmp_path / "kept", code=2)
    assert "readable file" in refused(export.path, "--key", KEY, "--checkpoint", tmp_path / "none", code=2)
    for key in ("", "x", KEY[:-1], KEY.replace("AY", "AZ"), KEY + "=", "ü+00000000+AQ==", KEY.replace("/", "+"), "\udcff++"):
        assert "such as" in refused(export.path, "--key", key, code=2)
    assert "found: No such file" in refused(tmp_path / "none.zip", code=2)
    assert "a zip file, found: Is a directory" in refused(tmp_path, code=2)
    for data in (b"", b"".join(export.lines), bytes(1000)):
        (tmp_path / "log.ndjson").write_bytes(data)
        assert "expected an export, which is a zip file" in refused(tmp_path / "log.ndjson", code=2)
    for wrong in (
        ["--checkpoint", "kept"],
        ["--newest-after", "2026-09-01T10:00:00"],
        ["--newest-after", "x"],
        ["--origin", "Ø"],
    ):
        with pytest.raises(SystemExit) as left:
            script.main([str(export.path), *wrong])
        assert left.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def test_what_was_asked_for(export: SimpleNamespace) -> None:
    """Another origin than the one asked for, and a log that ends before the time asked for, are invalid."""
    assert "same origin" in refused(export.path, "--origin", "other.dk/consent")
    last = codec.show_time(export.report.last_time)
    assert "found none" in refused(export.path, "--newest-after", last)
    assert run(export.path, "--newest-after", codec.show_time(export.report.last_time - 1))[0] == 10


# ---- Lines and leaves


def test_missing_line_end(export: SimpleNamespace, tmp_path: Path) -> None:
    """A log without the end of its last line is refused, by script and library: each line has one spelling."""
    path = pack(tmp_path / "cut.zip", b"".join(export.lines)[:-1])
    assert f"line {len(export.lines)}: expected a line end" in refused(path)
    with pytest.raises(FormatError, match=f"line {len(export.lines)}: .* one spelling"):
        verify_file(path)


def leaf(
    index: int,
    prev: bytes,
    rows: bytes,
    t: int = 1000,
    kind: str = "consent.given",
    origin: str = ORIGIN,
    version: str = "v1",
) -> bytes:
    """A leaf's bytes as anyone could write them, in form or not."""
    head = f"consentlib.dev/leaf/{version}\n{origin}\n{index}\n".encode()
    return head + b"%b\n%d\n%b\n%b" % (base64(prev), t, kind.encode(), rows)


def entry(index: int, prev: bytes, parts: dict[str, Any], **more: Any) -> Entry:
    """An entry that commits to its parts; a part None or withheld gets a commitment to nothing."""
    salt = bytes(32)
    filled = {name: (salt, part) if isinstance(part, bytes) else part for name, part in parts.items()}
    rows = b"".join(
        b"%b %b\n" % (name.encode(), base64(commitment(index, name, *(part if isinstance(part, tuple) else (salt, b"")))))
        for name, part in filled.items()
    )
    return Entry(index, leaf(index, prev, rows, **more), filled)


def chain(*shapes: dict[str, Any]) -> list[bytes]:
    """The lines of a log; a shape has parts and whatever else `entry` takes."""
    lines, prev = [], genesis(ORIGIN)
    for index, shape in enumerate(shapes):
        made = entry(shape.pop("index", index), shape.pop("prev", prev), **shape)
        line = format_line(made._replace(index=index))
        lines.append(line)
        prev = leaf_hash(made.leaf)
    return lines


def erasing(*pairs: Any, data: bytes | None = None) -> dict[str, Any]:
    return {"parts": {"facts": codec.encode({"parts": list(pairs)}) if data is None else data}, "kind": "part.erased"}


ONE = {"facts": b"{}"}
GONE = {"parts": {"facts": b"{}", "person": None}}
BROKEN: dict[str, tuple[Callable[[], list[bytes]], str]] = {
    "another format version": (lambda: chain({"parts": ONE, "version": "v2"}), "of format"),
    "unsorted parts": (lambda: chain({"parts": {"person": b"{}", "facts": b"{}"}}), "sorted by name"),
    "leaf of 1 KiB": (lambda: chain({"parts": ONE, "kind": "a" * 900}), "below 1024 bytes"),
    "leaf of 64 KiB": (lambda: chain({"parts": ONE, "kind": "a" * 65536}), "below 1024 bytes"),
    "strange kind": (lambda: chain({"parts": ONE, "kind": "Consent"}), "expected a kind"),
    "no parts": (lambda: chain({"parts": {}}), "expected a kind and 1 to 16 parts"),
    "seventeen parts": (lambda: chain({"parts": dict.fromkeys("abcdefghijklmnopq", b"")}), "below 1024 bytes|1 to 16"),
    "mixed origins": (lambda: chain({"parts": ONE}, {"parts": ONE, "origin": "other.dk"}), "same origin"),
    "duplicate index": (lambda: chain({"parts": ONE}, {"parts": ONE, "index": 0}), "the leaf of entry 1"),
    "broken link": (lambda: chain({"parts": ONE}, {"parts": ONE, "prev": bytes(32)}), "hash of the entry before"),
    "broken genesis": (lambda: chain({"parts": ONE, "prev": bytes(32)}), "hash of the entry before"),
    "falling time": (lambda: chain({"parts": ONE}, {"parts": ONE, "t": 999}), "never fall"),
    "absurd time": (lambda: chain({"parts": ONE, "t": 253402300800000}), "1970 to 9999"),
    "negative time": (lambda: chain({"parts": ONE, "t": -1}), "1970 to 9999"),
    "strange part name": (lambda: chain({"parts": {"facts.0": b"{}"}}), "expected"),
    "no base64 as commitment": (
        lambda: [
            format_line(Entry(0, leaf(0, genesis(ORIGIN), b"facts %b=\n" % (b"!" * 43)), {"facts": WITHHELD})),
        ],
        "a part's name and its commitment",
    ),
    "short salt": (lambda: chain({"parts": {"facts": (b"", b"{}")}}), "to open its commitment"),
    "edited part": (lambda: [chain({"parts": ONE})[0].replace(base64(b"{}"), base64(b"[]"))], "to open its commitment"),
    "gone without a record": (lambda: chain(GONE, {"parts": ONE}), "entry 0: expected part `person` or a record"),
    "never erasable": (lambda: chain({"parts": {"policy": None}, "kind": "policy.published"}), "can never be erased"),
    "erasure withheld": (lambda: [erasure_withheld()], "to show which"),
    "erasure of what is there": (lambda: chain({"parts": ONE}, erasing([0, "facts"])), "there or never was"),
    "erasure of what never was": (lambda: chain({"parts": ONE}, erasing([0, "person"])), "there or never was"),
    "erasure of itself": (
        lambda: chain({"parts": {"facts": codec.encode({"parts": [[0, "person"]]}), "person": None}, "kind": "part.erased"}),
        "can never be erased",
    ),
    "erasure by text": (lambda: chain(GONE, erasing(["0", "person"])), "there or never was"),
    "erasure by truth": (lambda: chain(GONE, erasing([False, "person"])), "there or never was"),
    "erasure in threes": (lambda: chain(GONE, erasing([0, "person", 1])), "there or never was"),
    "erasure not a list": (lambda: chain(GONE, erasing(data=b'{"parts":{}}')), "to show which"),
    "erasure spelled loosely": (lambda: chain(GONE, erasing(data=b'{"parts":[[0, "person"]]}')), "to show which"),
    "erasure with a fraction": (lambda: chain(GONE, erasing(data=b'{"a":1.0,"parts":[[0,"person"]]}')), "to show which"),
    "erasure with two keys": (
        lambda: chain(GONE, erasing(data=b'{"parts":[[0,"person"]],"parts":[[0,"person"]]}')),
        "to show which",
    ),
    "erasure nested deeply": (
        lambda: chain(GONE, erasing(data=b'{"a":' + b"[" * 33 + b"]" * 33 + b',"parts":[[0,"person"]]}')),
        "to show which",
    ),
    "erasure nested without end": (lambda: chain(GONE, erasing(data=b"[" * 100_000)), "to show which"),
    "erasure with a large number": (
        lambda: chain(GONE, erasing(data=b'{"a":9007199254740992,"parts":[[0,"person"]]}')),
        "to show which",
    ),
    "erasure not in NFC": (
        lambda: chain(GONE, erasing(data='{"by":"a\u0308","parts":[[0,"person"]]}'.encode())),
        "to show which",
    ),
}


def erasure_withheld() -> bytes:
    (line,) = chain(erasing())
    return line[: line.index(b'"parts":')] + b'"parts":{"facts":"withheld"}}\n'


def library_accepts(path: Path) -> bool:
    try:
        verify_file(path)
    except ConsentlibError:
        return False
    return True


@pytest.mark.parametrize(("lines", "problem"), BROKEN.values(), ids=BROKEN)
def test_broken_logs(lines: Any, problem: str, tmp_path: Path) -> None:
    """A log that is in form but for one thing is refused for that one thing, and the library refuses it too."""
    path = pack(tmp_path / "broken.zip", lines())
    found = refused(path)
    assert any(one in found for one in problem.split("|")), found
    assert not library_accepts(path)


def test_sound_logs(tmp_path: Path) -> None:
    """The logs that the broken ones are made from are accepted, erasures in every shape among them."""
    whole = chain(GONE, {"parts": {"facts": b"", "facts.2": b"x", "person": b"\xff" * 40_000}}, erasing([0, "person"]))
    left_out = [whole[0].replace(b',"person":null', b""), *whole[1:]]
    for lines in (whole, left_out):
        path = pack(tmp_path / "whole.zip", lines)
        assert (run(path)[0], run(path)[1]["erased"]) == (10, 1)
        assert library_accepts(path)


LINE = chain({"parts": {"facts": b"{}", "person": b"[]"}})[0]
PARTS = LINE[LINE.index(b'"facts"') : -3].split(b',"person"')
BAD_LINES = {
    "space": LINE.replace(b":", b": ", 1),
    "space in base64": LINE.replace(b'"data":"', b'"data":" ', 1),
    "loose base64": LINE.replace(b'"data":"e30="', b'"data":"e31="'),
    "no padding": LINE.replace(b'"data":"e30="', b'"data":"e30"'),
    "url base64": LINE.replace(b'"salt":"A', b'"salt":"_'),
    "duplicate key": LINE.replace(b'{"i":0,', b'{"i":0,"i":0,'),
    "duplicate part": LINE.replace(PARTS[0], PARTS[0] + b"," + PARTS[0]),
    "unsorted": LINE.replace(PARTS[0] + b',"person"' + PARTS[1], b'"person"' + PARTS[1] + b"," + PARTS[0]),
    "uncommitted": LINE[:-3] + b',"q":null}}\n',
    "uncommitted and opened": LINE[:-3] + b',"q":{"salt":"","data":""}}}\n',
    "escaped name": LINE.replace(b'"facts"', b'"\\u0066acts"'),
    "extra key": LINE[:-2] + b',"x":1}\n',
    "another order": b'{"leaf"' + LINE[LINE.index(b":", 5) : -2] + b',"i":0}\n',
    "carriage return": LINE[:-1] + b"\r\n",
    "blank line": LINE + b"\n",
    "blank first line": b"\n" + LINE,
    "byte order mark": b"\xef\xbb\xbf" + LINE,
    "index as text": LINE.replace(b'"i":0', b'"i":"0"'),
    "index as fraction": LINE.replace(b'"i":0', b'"i":0.0'),
    "another index": LINE.replace(b'"i":0', b'"i":1'),
    "false": LINE.replace(b'"person":', b'"person":false,"q":'),
    "nested": b'{"i":0,"leaf":' + b"[" * 50_000 + b"\n",
    "not JSON": b"hello\n",
    "nothing": b"\0" * 100,
    "huge": LINE[:-1] + b" " * 8_000_001,
    "doubled": LINE + LINE,
}


@pytest.mark.parametrize("log", BAD_LINES.values(), ids=BAD_LINES)
def test_bad_lines(log: bytes, tmp_path: Path) -> None:
    """A line in any other than its one spelling is refused with its number, and the library refuses it too."""
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("log.ndjson", log)
    assert "line " in refused(tmp_path / "bad.zip")
    assert not library_accepts(tmp_path / "bad.zip")


# ---- Zips


def test_bad_zips(tmp_path: Path) -> None:
    """A zip that is cut, doubled, encrypted, packed beyond reason or in another way, or lacks the log is invalid."""
    whole = pack(tmp_path / "whole.zip", LINE).read_bytes()
    assert run(tmp_path / "whole.zip")[0] == 10
    bad = tmp_path / "bad.zip"
    encrypted = bytearray(whole)
    encrypted[whole.index(b"PK\1\2") + 8] |= 1
    crc = bytearray(whole)
    crc[whole.index(b"PK\1\2") + 16] ^= 1
    for data in (b"PK", whole[:-30], whole[:40], bytes(encrypted), bytes(crc), whole[40:]):
        bad.write_bytes(data)
        refused(bad)
    with zipfile.ZipFile(bad, "w") as archive:
        archive.writestr("README.txt", "")
    assert "found none" in refused(bad)
    with zipfile.ZipFile(bad, "w") as archive:
        archive.writestr("log.ndjson", LINE)
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("log.ndjson", LINE)
    assert "found one twice" in refused(bad)
    with zipfile.ZipFile(bad, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("log.ndjson", LINE)
    assert "another method" in refused(bad)
    assert "a thousand times" in refused(pack(bad, b"\n" * 5_000_000))


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "fuzz.zip"


@st.composite
def byte_edits(draw: st.DrawFn, data: bytes) -> bytes:
    """A few bytes replaced, put in or taken out."""
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        width = draw(st.integers(0, 4))
        data = data[:at] + draw(st.binary(max_size=4)) + data[at + width :]
    return data


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_bytes_of_a_zip(export: SimpleNamespace, scratch: Path, data: st.DataObject) -> None:
    """However the bytes of a signed zip are edited, there is a verdict, and never `verified` for another log."""
    files = {**export.files, "checkpoint": note(export.lines), "checkpoints/4": note(export.lines, 4)}
    whole = pack(scratch, export.lines, files).read_bytes()
    scratch.write_bytes(data.draw(byte_edits(whole)))
    code, found = run(scratch, "--key", KEY)
    assert code in (2, 40) or (code == 10 and found["root"] == base64(export.report.root).decode())


LINE_EDITS: dict[str, Callable[[list[bytes], int, int], list[bytes]]] = {
    "drop": lambda lines, a, b: lines[:a] + lines[a + 1 :],
    "cut": lambda lines, a, b: lines[:a],
    "double": lambda lines, a, b: lines[:a] + lines[a : a + 1] + lines[a:],
    "swap": lambda lines, a, b: [lines[b] if n == a else lines[a] if n == b else line for n, line in enumerate(lines)],
    "withhold": lambda lines, a, b: [line if n != a else withhold(line) for n, line in enumerate(lines)],
    "wipe": lambda lines, a, b: [line if n != a else wipe(line) for n, line in enumerate(lines)],
    "leave out": lambda lines, a, b: [line if n != a else wipe(line).replace(b':null,"', b'"') for n, line in enumerate(lines)],
}


def withhold(line: bytes) -> bytes:
    return line[: line.index(b'"facts":')] + b'"facts":"withheld"}}\n' if b'"facts":' in line else line


def wipe(line: bytes) -> bytes:
    return line[: line.index(b'"person":')] + b'"person":null}}\n' if b'"person":' in line else line


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_agrees_with_the_library(export: SimpleNamespace, scratch: Path, data: st.DataObject) -> None:
    """Whatever is done to the bytes or the lines of a log, this script accepts it exactly if the library does."""
    lines = export.lines
    if data.draw(st.booleans()):
        edit = LINE_EDITS[data.draw(st.sampled_from(sorted(LINE_EDITS)))]
        place = st.integers(0, len(lines) - 1)
        log = b"".join(edit(lines, data.draw(place), data.draw(place)))
    else:
        log = data.draw(byte_edits(b"".join(lines)))
    pack(scratch, log, export.files)
    assert (run(scratch)[0] == 10) == library_accepts(scratch)


def test_memory_does_not_grow_with_the_log(tmp_path: Path) -> None:
    """Eight times the entries take no more memory."""

    def peak(size: int) -> int:
        path = pack(tmp_path / f"{size}.zip", chain(*({"parts": {"facts": b"x" * 400}} for _ in range(size))))
        run(path)
        tracemalloc.start()
        try:
            run(path)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(8_000) < 1.25 * peak(2_000)
