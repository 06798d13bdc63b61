"""Rows that can't be read: whatever a damaged one makes of the code that meets it is one error."""

from __future__ import annotations

from types import TracebackType

from consentlib.errors import ConsentlibError, FormatError, PolicyError, VerificationError


def damaged(error: Exception) -> VerificationError:
    """The error of a row that can't be read. It repeats nothing but the type: the value may be a personal datum."""
    return VerificationError(f"expected rows that can be read, found one that can't: `{type(error).__name__}`", level="content")


class ReadingRows:
    """A block that reads rows and runs no code of a caller's: what only a damaged row can make of it is `VerificationError`."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        ours = isinstance(error, (ConsentlibError, OSError)) and not isinstance(error, (FormatError, PolicyError))
        if isinstance(error, Exception) and not ours:
            raise damaged(error) from None
