"""The program `consentlib`: its commands, and how each ends.

Exit codes: 0 done (or allowed, or healthy), 1 no (denied, findings, failed cases, a sick ledger), 2 usage or input that
can't be used, 3 the ledger can't do it now, 10 verified but not against a checkpoint of one's own, 30 diverges from a
checkpoint, 40 invalid, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from consentlib import __version__
from consentlib.cli.asking import check, filter_, history
from consentlib.cli.copy_command import copy
from consentlib.cli.demo import demo
from consentlib.cli.doctor import doctor
from consentlib.cli.ledger_commands import erase, init, publish, record, review
from consentlib.cli.output import LEDGER, USAGE, Failure, exit_code, one_line
from consentlib.cli.policy_commands import policy
from consentlib.cli.proof_commands import checkpoint, disclose, export, key, receipt, rotate_key, verify, verify_receipt
from consentlib.cli.recovery_commands import journal, recover
from consentlib.cli.report_command import report
from consentlib.cli.stop_command import stop
from consentlib.errors import ConsentlibError


class Program(click.Group):
    """A group whose errors are one line on standard error, without traceback and without what the user typed as an address."""

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> NoReturn:
        """Run, and leave with the exit code."""
        typed = list(sys.argv[1:] if args is None else args)
        if os.environ.get("NO_COLOR"):
            extra["color"] = False
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        extra["standalone_mode"] = False
        extra["prog_name"] = "consentlib"
        try:
            code = super().main(typed, *rest, **extra)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.ctx.get_help() if error.ctx is not None else "", err=True)
            sys.exit(USAGE)
        except click.UsageError as error:
            path = error.ctx.command_path if error.ctx is not None else "consentlib"
            _leave(f"{_discreet(error.format_message(), typed)} (see `{path} --help`)", USAGE)
        except Failure as error:
            _leave(error.message, error.code)
        except click.Abort:
            _leave("interrupted", 130)
        except ConsentlibError as error:
            _leave(one_line(error), exit_code(error))
        except OSError as error:
            _leave(f"expected to read and write, found: {(error.strerror or 'an error').lower()}", LEDGER)
        sys.exit(code if isinstance(code, int) else 0)


def _leave(message: str, code: int) -> NoReturn:
    click.echo(f"consentlib: {message}", err=True)
    sys.exit(code)


def _discreet(message: str, typed: Sequence[str]) -> str:
    """A message about usage in one line and without values that may be an address."""
    if message.startswith("Got unexpected extra argument"):
        message = "expected fewer arguments, found more"
    for value in sorted(typed, key=len, reverse=True):
        if "@" in value or value.startswith("+") or ":" in value:
            message = message.replace(value, "…")
    message = " ".join(message.split()).removesuffix(".")
    return message[:1].lower() + message[1:]


@click.group(
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done or allowed; 1 denied, findings or failures; 2 usage or unusable input; 3 the ledger can't"
    " do it now; 10 verified, but not against a checkpoint of your own; 30 diverges from a checkpoint; 40 invalid.",
)
@click.version_option(__version__, prog_name="consentlib")
def main() -> None:
    """Records what people say about the use of their data, decides, and proves it."""


for _command in (
    init,
    record,
    stop,
    check,
    filter_,
    history,
    erase,
    review,
    export,
    disclose,
    verify,
    checkpoint,
    key,
    rotate_key,
    receipt,
    verify_receipt,
    report,
    publish,
    policy,
    doctor,
    journal,
    recover,
    copy,
    demo,
):
    main.add_command(_command)
