"""What others need to test what they build on this library.

`StoreContract` (in `consentlib.testing.store_contract`, which needs pytest) is the test a store has to pass; `FaultyStore`
is a store that fails when it is told to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from consentlib.testing.faulty import FaultyStore

if TYPE_CHECKING:
    from consentlib.testing.store_contract import StoreContract

__all__ = ["FaultyStore", "StoreContract"]


def __getattr__(name: str) -> Any:
    if name == "StoreContract":
        from consentlib.testing.store_contract import StoreContract

        return StoreContract
    raise AttributeError(f"module `{__name__}` has no attribute `{name}`")
