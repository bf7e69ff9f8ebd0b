"""``python -m spikestore.store_schemas`` is the command ``spikestore``."""

from __future__ import annotations

import sys

from spikestore.store_schemas.cli import main

if __name__ == "__main__":
    sys.exit(main())
