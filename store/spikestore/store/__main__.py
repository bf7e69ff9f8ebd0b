"""``python -m spikestore.store`` runs the command ``spikestore``."""

from __future__ import annotations

import sys

from spikestore.store.cli.program import program

if __name__ == "__main__":
    sys.exit(program())
