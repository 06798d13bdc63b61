"""An append-only, hash-chained log of consent events, and the rules that decide whether a use of personal data is allowed.

`Ledger` is the door: record what people say, ask before each use, export the log for an auditor. What can happen is in
`consentlib.events`, what can go wrong in `consentlib.errors`.
"""

from consentlib.errors import ConsentlibError, NotAllowedError, VerificationError
from consentlib.events import Evidence
from consentlib.ledger import HistoryEntry, Ledger
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
