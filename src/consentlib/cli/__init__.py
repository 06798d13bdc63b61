"""The command line: `consentlib`, or `python -m consentlib`."""

from consentlib.cli.app import main

__all__ = ["main"]
