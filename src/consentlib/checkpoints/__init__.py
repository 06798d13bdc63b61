"""Checkpoints kept and made: what the log committed to, held where a restored or rewritten database can't reach.

A checkpoint store is a second trust domain: a folder, or a second database, elsewhere. One in a database is imported when it is
first asked for.
"""

from consentlib.checkpoints.places import checkpoint_store, default_folder
from consentlib.checkpoints.stores import (
    CheckpointsOnDisk,
    CheckpointStore,
    FileCheckpoints,
    MemoryCheckpoints,
    covered_size,
)

__all__ = [
    "CheckpointStore",
    "CheckpointsOnDisk",
    "FileCheckpoints",
    "MemoryCheckpoints",
    "checkpoint_store",
    "covered_size",
    "default_folder",
]
