"""The two ways in which a person's request can fail. Both become one sentence on stderr, never a traceback."""

from __future__ import annotations


class InputError(Exception):
    """An input cannot be used. The message names the file or value, what is wrong, and what to do."""


class UsageError(InputError):
    """The request itself is wrong (exit code 2): an unknown name, a bad option, a missing file."""
