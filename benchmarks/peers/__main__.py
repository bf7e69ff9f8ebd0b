"""Make the environments of other libraries that benchmarks measure: ``python -m benchmarks.peers [NAME …]``.

The environments go into .peers at the top of the checkout, or into $SPIKESTORE_PEERS. EXODUS needs no such environment:
``make exodus`` installs it into the environment of spikestore.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from benchmarks.peers.environments import ENVIRONMENTS, FOLDER, make


def main() -> int:
    """Make the requested environments, even if some fail; return an exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument(
        "names", nargs="*", choices=[*ENVIRONMENTS, []], metavar="NAME", help=", ".join(ENVIRONMENTS)
    )
    failed = []
    for name in parser.parse_args().names or ENVIRONMENTS:
        try:
            make(name)
        except subprocess.CalledProcessError as error:
            failed.append(name)
            sys.stderr.write(f"{name}: exit status {error.returncode}, see above\n")
        except FileNotFoundError as error:
            failed.append(name)
            sys.stderr.write(f"{name}: {error}\n")
        else:
            sys.stdout.write(f"{name}: {FOLDER / name}\n")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
