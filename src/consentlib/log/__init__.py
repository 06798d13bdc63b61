"""The log's bytes and proofs: leaves, the Merkle tree over them, and verification. Pure functions of values."""

from consentlib.log.leaf import Leaf, check_origin, commitment, encode_leaf, genesis, leaf_hash, parse_leaf
from consentlib.log.meaning import Finding, Meaning
from consentlib.log.ndjson import format_line, parse_line
from consentlib.log.span import LOST, NEVER_ERASED, WITHHELD, Entry, Part
from consentlib.log.verify import Head, Report, verify_entries

__all__ = [
    "LOST",
    "NEVER_ERASED",
    "WITHHELD",
    "Entry",
    "Finding",
    "Head",
    "Leaf",
    "Meaning",
    "Part",
    "Report",
    "check_origin",
    "commitment",
    "encode_leaf",
    "format_line",
    "genesis",
    "leaf_hash",
    "parse_leaf",
    "parse_line",
    "verify_entries",
]
