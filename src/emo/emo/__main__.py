"""`python -m emo` is `./emo`."""

from __future__ import annotations

import sys

from emo.cli import main

if __name__ == "__main__":
    sys.exit(main())
