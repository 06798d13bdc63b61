"""What `consentlib doctor` says of a PostgreSQL server, from the facts its store gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from consentlib.cli.output import plural

_OLDEST: Final = 150_000
_DIFFERENCE: Final = 1_000


def findings(health: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(check, state, detail), as the lines of `doctor`."""
    loose = health["loose_rights"]
    detail = f"the role may {', '.join(loose)}: see `role_script`" if loose else "the role can only read and append"
    yield "rights", "warning" if loose else "ok", detail
    number = health["server_version"]
    old = number < _OLDEST
    yield "PostgreSQL", "problem" if old else "ok", f"version {number // 10_000}.{number % 10_000}" + ", before 15" * old
    unsafe = [name for name in ("fsync", "full_page_writes") if health[name] != "on"]
    if unsafe:
        yield "disk", "problem", f"{' and '.join(f'`{one}`' for one in unsafe)} off: a power cut loses what was answered for"
    else:
        yield "disk", "ok", "commits are flushed"
    if health["standby"]:
        yield "replication", "problem", "this server is a standby: nothing can be recorded"
        return
    names, wait = health["synchronous_standby_names"], health["synchronous_commit"]
    streaming = plural(health["standbys_streaming"], "standby", "standbys")
    if names:
        yield "replication", "ok", f"a commit waits for `{names}` ({wait}), {streaming} connected"
    else:
        yield (
            "replication",
            "warning",
            f"a commit waits for no standby, {streaming} connected: losing this server loses the log",
        )
    apart = health["clock_difference"]
    state = "warning" if abs(apart) > _DIFFERENCE else "ok"
    yield "server clock", state, f"{abs(apart)} ms {'behind' if apart < 0 else 'ahead of'} this machine's; the server's counts"
    yield "connections", "ok", f"at most {health['connections']} of this process"
