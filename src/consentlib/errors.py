"""Every error consentlib raises on purpose.

::

    ConsentlibError
    ├── InputError (also a ValueError)      what was handed in can't be used; nothing was stored
    │   ├── AddressError                    not an address of a known kind
    │   ├── EventError                      not an event: unknown kind or field, wrong type or value
    │   ├── FormatError                     bytes that are not what their format demands
    │   ├── PolicyError                     a policy that can't be used, with file and key
    │   └── TimeError                       naive, too fine or absurd time
    ├── NotAllowedError                     `require` or `permit` met a denial; carries the decision
    ├── LedgerError                         the ledger can't do it now
    │   ├── LedgerMissingError              nothing there, or something that is not a ledger
    │   ├── LedgerExistsError               `create` found a ledger
    │   ├── LedgerVersionError              a ledger of a newer format
    │   ├── StoreUnavailableError           the store can't be reached, read or written
    │   │   ├── CommitUndoneError           the answer to a commit was lost, and it did not take place
    │   │   └── CommitUnknownError          the answer to a commit was lost: it may stand
    │   ├── KeyFileError                    missing, unreadable or wrong keys
    │   ├── CheckpointConflictError         another process signed a checkpoint first
    │   ├── ClockError                      the clock is behind the log
    │   ├── EventConflictError              the event id is taken by other content
    │   ├── ErasedError                     the event id belongs to something erased
    │   └── PermitLapsedError               a permit was used too late
    └── VerificationError                   the log does not hold what it must; carries the evidence

Messages are one line, lower case, values in backticks, and hold no personal datum. Facts are attributes; every error
survives pickling.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from consentlib.policy.lint import Finding
    from consentlib.rules import Decision


class ConsentlibError(Exception):
    """Root of all errors of this library. `facts` become attributes, `note` is advice shown below the message.

    `position` is the place (from 0) of the event that was refused, where several were handed in at once.
    """

    position: int | None = None

    def __init__(self, message: str, *, note: str | None = None, **facts: Any) -> None:
        super().__init__(message)
        self.__dict__.update(facts)
        if note is not None:
            self.add_note(note)


class InputError(ConsentlibError, ValueError):
    """What was handed in can't be used. Nothing was stored."""


class AddressError(InputError):
    """The text is not an address of a known kind. The message never repeats the text."""


class EventError(InputError):
    """Not an event. `field` names what is wrong, `line` where in a file (from 1), where known."""

    field: str | None = None
    line: int | None = None


class FormatError(InputError):
    """Bytes that are not what their format demands."""


class PolicyError(InputError):
    """A policy that can't be used. `file` and `key` say where, `findings` what keeps one from being put in force."""

    file: str | None = None
    key: str | None = None
    findings: tuple[Finding, ...] = ()


class TimeError(InputError):
    """A time that is naive, finer than a millisecond, or outside the years 1 to 9999."""


class NotAllowedError(ConsentlibError):
    """The use is not allowed. `decision` says why."""

    decision: Decision

    def __init__(self, decision: Decision) -> None:
        super().__init__(
            f"not allowed: use `{decision.use}`, reason `{decision.reason}`", decision=decision, note=decision.text()
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.decision,))


class LedgerError(ConsentlibError):
    """The ledger can't do it now."""


class LedgerMissingError(LedgerError):
    """Nothing is there, or something that is not a ledger."""


class LedgerExistsError(LedgerError):
    """`create` found a ledger. It was not touched."""


class LedgerVersionError(LedgerError):
    """The ledger has another format version than this library writes."""


class StoreUnavailableError(LedgerError):
    """The store can't be reached, read or written. The transaction left nothing behind."""


class CommitUndoneError(StoreUnavailableError):
    """The answer to a commit was lost, and it was found that it did not take place. Nothing was stored."""


class CommitUnknownError(StoreUnavailableError):
    """The answer to a commit was lost. What was to be recorded may stand, or may not: recording an event again under the
    `event_id` it had never doubles it."""


class KeyFileError(LedgerError):
    """The key file is missing, unreadable, or holds other keys than the ledger was made with."""


class CheckpointConflictError(LedgerError):
    """Another process signed a checkpoint first. Nothing was replaced; making one anew settles it."""


class ClockError(LedgerError):
    """The clock is behind the newest entry by more than the policy's `clock_skew_seconds`. Stops still pass."""


class EventConflictError(LedgerError):
    """The event id is taken by other content. Nothing was stored."""


class ErasedError(LedgerError):
    """The event id belongs to something that was erased. Nothing was stored."""


class PermitLapsedError(LedgerError):
    """The permit was not used within its time; its send was taken back."""


class VerificationError(ConsentlibError):
    """The log does not hold what it must.

    `level` is the level that caught it (`chain`, `content`, `signature`, `history`; `proof` for a proof by itself), `index`
    the entry, `evidence` the bytes that prove it: a mapping of names to bytes or text, enough for somebody else to check
    without the log.
    """

    level: str
    index: int | None
    evidence: dict[str, Any]

    def __init__(self, message: str, *, level: str, index: int | None = None, **evidence: Any) -> None:
        super().__init__(message, level=level, index=index, evidence=evidence)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (self.args[0], self.level, self.index, self.evidence))


def _rebuild(message: str, level: str, index: int | None, evidence: dict[str, Any]) -> VerificationError:
    return VerificationError(message, level=level, index=index, **evidence)
