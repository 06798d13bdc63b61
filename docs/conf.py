"""Sphinx configuration: `python -m sphinx -W docs build/docs`."""

from consentlib import __version__

project = "consentlib"
author = "the consentlib authors"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["tables.py"]
html_theme = "furo"
html_title = f"consentlib {__version__}"
html_show_copyright = False

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
