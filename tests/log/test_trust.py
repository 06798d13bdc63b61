"""Which keys count: each way that trust may and may not go, and that order and company change nothing."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rotating_log import CASES, KEYS, Case, Signed, entries_of, note_of, said
from small_log import ORIGIN

from consentlib.errors import ConsentlibError, FormatError, VerificationError
from consentlib.log import verify_entries
from consentlib.log.note import Verifier
from consentlib.log.trust import KeyAdded, Trust, read_key_added
from consentlib.signing import verify

NAMES = ("one", "two", "three", "thief")


def judged(case: Case, order: random.Random | None = None) -> tuple[str, int | None, int | None]:
    """The level and sizes that the pure verifier reports; the level of the error, where it raises."""
    entries = entries_of(case)
    trust = Trust([KEYS[name].verifier for name in case.pinned.split()], verify)
    shipped = [trust.claim(note_of(entries, one)) for one in case.shipped]
    held = [trust.claim(note_of(entries, one)) for one in case.held]
    if order is not None:
        order.shuffle(held)
        earlier = shipped[1:]
        order.shuffle(earlier)
        shipped[1:] = earlier
    try:
        found = verify_entries(entries, shipped=shipped, checkpoints=held, trust=trust)
    except VerificationError as error:
        return "no " + error.level, None, None
    return found.level, found.signed_size, found.held_size


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_cases(case: Case) -> None:
    """Each case reaches the level it must, and no other."""
    level, signed, held = judged(case)
    if case.verdict in (0, 10):
        assert (level, signed) == (case.level, case.size)
        assert held == (max(one.size for one in case.held) if case.held else None)
    else:
        assert level == ("no history" if case.verdict == 30 else "no signature")


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_any_order(case: Case) -> None:
    """In which order checkpoints lie in the zip, or are handed in, changes nothing."""
    order = random.Random(5)
    assert {judged(case, order) for _ in range(5)} == {judged(case)}


def test_what_is_left_out_is_said() -> None:
    """Earlier checkpoints by keys that don't count are compared with the log, and named as not checked."""
    case = CASES["who knows the new key need not know the old"]
    entries = entries_of(case)
    trust = Trust([KEYS["two"].verifier], verify)
    report = verify_entries(entries, shipped=[trust.claim(note_of(entries, one)) for one in case.shipped], trust=trust)
    assert "signature: 1 earlier checkpoints that came with the log are signed by no key that counts" in report.not_checked
    assert report.led_to == ()
    trust = Trust([KEYS["one"].verifier], verify)
    report = verify_entries(entries, shipped=[trust.claim(note_of(entries, one)) for one in case.shipped], trust=trust)
    assert report.led_to == (str(KEYS["two"].verifier),)


def test_failing_signatures() -> None:
    """A signature that fails is refused: of a pinned key at once, of a key that is led to as soon as it is known."""
    case = CASES["who knows the old key is led on"]
    entries = entries_of(case)
    forged = note_of(entries, Signed(9, "two")).replace(b"\n9\n", b"\n8\n")
    with pytest.raises(VerificationError, match="found one that fails"):
        Trust([KEYS["two"].verifier], verify).claim(forged)
    trust = Trust([KEYS["one"].verifier], verify)
    shipped = [trust.claim(note_of(entries, one)) for one in case.shipped]
    held = trust.claim(note_of(entries, Signed(7, "two")).replace(b"\n7\n", b"\n6\n"))
    with pytest.raises(VerificationError, match="found one that fails"):
        verify_entries(entries, shipped=shipped, checkpoints=[held], trust=trust)


def test_facts() -> None:
    """Only two different keys of this very log, in canonical JSON, are a rotation."""
    one, two = KEYS["one"].verifier, KEYS["two"].verifier
    assert read_key_added(3, said("one", "two"), ORIGIN) == KeyAdded(3, two, one)
    for facts, origin in (
        (said("one", "two"), "other.example/consent"),
        (said("one", "one"), ORIGIN),
        (said("one", "other"), ORIGIN),
        (said("other", "two"), ORIGIN),
        (b"null", ORIGIN),
        (b"{}", ORIGIN),
        (b'{"key":null,"replaces":null}', ORIGIN),
        (said("one", "two") + b" ", ORIGIN),
        (b"\xff", ORIGIN),
    ):
        assert read_key_added(3, facts, origin) is None


def test_pinned_keys_that_can_not_be_told_apart() -> None:
    """Two pinned keys of one name and id are refused, as where a note is opened."""
    one = KEYS["one"].verifier

    class Same(Verifier):
        """Another key under the same id."""

        id = one.id

    with pytest.raises(FormatError, match="found two that do not"):
        Trust([one, Same(one.name, bytes(32))], verify)


SIGNED = st.builds(
    Signed,
    st.integers(0, 9),
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True).map(" ".join),
    st.integers(0, 9).map(lambda one: one == 0),
)
ANY = st.builds(
    Case,
    st.just(9),
    st.dictionaries(
        st.integers(0, 8),
        st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)).map(" to ".join),
        max_size=4,
    ),
    st.tuples(
        st.builds(Signed, st.just(9), st.sampled_from([*NAMES, "one two"])),
        st.lists(SIGNED, max_size=4, unique_by=lambda one: one.size),
    ).map(lambda pair: [pair[0], *pair[1]]),
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=2, unique=True).map(" ".join),
    st.lists(SIGNED, max_size=3),
    st.just(0),
)


@settings(max_examples=200, deadline=None)
@given(case=ANY)
def test_without_the_old_key_nobody_is_heir(case: Case) -> None:
    """Whatever is added, shipped and kept: where no pinned key signed what covers an entry, only pinned keys count."""
    pinned = set(case.pinned.split())
    signed = [one for one in (*case.shipped, *case.held) if not one.wrong and pinned & set(one.by.split())]
    if any(index < one.size for one in signed for index in case.added):
        return
    try:
        level, _, _ = judged(case)
    except ConsentlibError:
        return
    if not level.startswith("no"):
        assert pinned & set(case.shipped[0].by.split())


@settings(max_examples=200, deadline=None)
@given(case=ANY, name=st.sampled_from(NAMES))
def test_withheld_announcements(case: Case, name: str) -> None:
    """Without what the log says of its keys, it is as if only pinned keys were there."""
    pinned = set(case.pinned.split())
    bare = case._replace(added={})
    try:
        level, _, _ = judged(bare)
    except ConsentlibError:
        return
    reaches = bool(pinned & set(bare.shipped[0].by.split()))
    assert reaches or level.startswith("no")
