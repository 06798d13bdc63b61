"""`python -m consentlib`: the command line."""

from consentlib.cli import main

main()
