"""An append-only, hash-chained log of consent events, and the rules that decide whether a use of personal data is allowed.

`Ledger` is the door: record what people say, ask before each use, export the log for an auditor. What can happen is in
`consentlib.events`, what can go wrong in `consentlib.errors`.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from consentlib.errors import ConsentlibError, NotAllowedError, VerificationError
    from consentlib.events import Evidence
    from consentlib.history import HistoryEntry
    from consentlib.ledger import Ledger
    from consentlib.permits import Permit
    from consentlib.policy import Policy, load_policy
    from consentlib.recorder import Recorded
    from consentlib.rules import Decision, Message

__version__ = "0.1.0"

__all__ = [
    "ConsentlibError",
    "Decision",
    "Evidence",
    "HistoryEntry",
    "Ledger",
    "Message",
    "NotAllowedError",
    "Permit",
    "Policy",
    "Recorded",
    "VerificationError",
    "load_policy",
]

_HOMES = {
    "errors": ("ConsentlibError", "NotAllowedError", "VerificationError"),
    "events": ("Evidence",),
    "history": ("HistoryEntry",),
    "ledger": ("Ledger",),
    "permits": ("Permit",),
    "policy": ("Policy", "load_policy"),
    "recorder": ("Recorded",),
    "rules": ("Decision", "Message"),
}

if not TYPE_CHECKING:

    def __getattr__(name):
        """A public name from its module, imported when it is first asked for (PEP 562): events alone need no ledger."""
        from importlib import import_module

        home = next((home for home, names in _HOMES.items() if name in names), None)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)
        value = globals()[name] = getattr(import_module(f"{__name__}.{home}"), name)
        return value

    def __dir__():
        return sorted({*globals(), *__all__})
