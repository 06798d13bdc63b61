"""A policy file (TOML) to a `Policy`: the one module of the policy that reads the disk."""

from __future__ import annotations

import os
from pathlib import Path

from consentlib.errors import PolicyError
from consentlib.policy.model import Policy


def load_policy(path: str | os.PathLike[str]) -> Policy:
    """The policy in the file at `path`. Raises `PolicyError` with file and key for anything that is not one."""
    file = os.fspath(path)
    try:
        text = Path(file).read_bytes().decode("utf-8")
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        raise PolicyError(f"{file}: expected a readable policy file, found: {reason}", file=file) from error
    except UnicodeDecodeError as error:
        raise PolicyError(f"{file}: expected UTF-8, found other bytes at `{error.start}`", file=file) from error
    return parse_policy(text, file)


def parse_policy(text: str, file: str = "policy") -> Policy:
    """The policy in a TOML text; `file` names it in errors. Raises `PolicyError`."""
    # Here, because a ledger that is opened has its policy in the log.
    import tomllib

    from consentlib.policy.read import read_policy

    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number of thousands of digits is no `TOMLDecodeError`
        reason = " ".join(str(error).split()).partition(";")[0]
        raise PolicyError(f"{file}: expected TOML, found an error: {reason[:1].lower()}{reason[1:]}", file=file) from error
    return read_policy(table, file)
