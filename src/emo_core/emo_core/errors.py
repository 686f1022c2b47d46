"""The one exception a user is meant to read."""

from __future__ import annotations


class EmoError(Exception):
    """Something the user can mend. The message is one line: what, where, and what to do."""
