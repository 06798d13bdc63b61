"""What others need to test what they build on this library.

`StoreContract` (in `consentlib.testing.store_contract`, which needs pytest) is the test a store has to pass, `BindContract` the
one for a store that can work in a transaction of the shop's own; `FaultyStore` is a store that fails when it is told to.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from consentlib.testing.faulty import FaultyStore

if TYPE_CHECKING:
    from consentlib.testing.bind_contract import BindContract
    from consentlib.testing.store_contract import StoreContract

__all__ = ["BindContract", "FaultyStore", "StoreContract"]

_NEED_PYTEST: Final = {"BindContract": "bind_contract", "StoreContract": "store_contract"}


def __getattr__(name: str) -> Any:
    if name in _NEED_PYTEST:
        return getattr(import_module(f"{__name__}.{_NEED_PYTEST[name]}"), name)
    raise AttributeError(f"module `{__name__}` has no attribute `{name}`")
