"""What the level *meaning* found: how many recorded sends had a ground, and which had none."""

from __future__ import annotations

import attrs

MOST_FINDINGS = 100
"""How many findings are named; all are counted."""


@attrs.frozen
class Finding:
    """Sends of one entry that had no valid ground: why, and to how many addresses.

    `reason` is the code of the denial that `check` would have given, or `wrong_log_size` where the entry names a state of the
    log that was not the newest. `let_through`: the entry says itself that a mode let a denial through.
    """

    index: int
    reason: str
    addresses: int
    let_through: bool = False


@attrs.frozen
class Meaning:
    """Recorded sends against the rules, one count an address. Nothing personal.

    `judged` had all they need to be judged, `ground_only` of them without what the message said of itself, as no permit
    recorded it. `unlawful` of those judged had no valid ground, `let_through` of these in a mode that does not enforce;
    `reasons` counts them by reason and `findings` names the first hundred by entry. `unjudged` are never lawful: facts about
    whom they went to are erased, withheld or unreadable (an entry that can't be read itself counts as one). `taken_back`
    are on record as not handed over, and nowhere else counted. `unread`: from this entry on everything is unjudged.
    """

    judged: int
    ground_only: int
    unjudged: int
    unlawful: int
    let_through: int
    taken_back: int
    reasons: tuple[tuple[str, int], ...]
    findings: tuple[Finding, ...]
    unread: int | None

    @property
    def holds(self) -> bool:
        """Whether every send that could be judged had a ground, and every entry could be read or was erased on record."""
        return self.unlawful == 0 and self.unread is None

    def gaps(self) -> list[str]:
        """In words, what was not judged."""
        found = []
        if self.unread is not None:
            found.append(f"meaning: from entry {self.unread} on nobody can tell, as its facts are withheld or unreadable")
        if self.unjudged:
            found.append(f"meaning: {self.unjudged} sends could not be judged, as facts they rest on are not there")
        if self.ground_only:
            found.append(f"meaning: {self.ground_only} sends were judged for their ground only, as no permit recorded them")
        return found
