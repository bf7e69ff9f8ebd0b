"""A fake peer whose rate is the number of its calls; it ends at the third call. It also prints, as real libraries do."""

from __future__ import annotations

import sys

from benchmarks.peers.serve import answers, serve


def main(first: str) -> None:
    stream = answers()
    sys.stdout.write("a banner\n")
    asked = int(first)

    def work() -> float:
        nonlocal asked
        asked += 1
        if asked > int(first) + 2:
            sys.exit(3)
        sys.stdout.write("at work\n")
        return float(asked)

    serve(stream, work, first=asked)


if __name__ == "__main__":
    main(*sys.argv[1:])
