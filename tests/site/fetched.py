"""Look for what the pages of the built site would fetch from elsewhere: ``python -m tests.site.fetched build/site``.

These are scripts, styles, pictures, fonts and frames, which a browser fetches at once; links that a reader may follow do not count.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

_FETCHED = re.compile(
    r"""<(?:script|img|iframe|source|link(?=[^>]*rel=["']?(?:stylesheet|preload|preconnect|icon)))\b[^>]*?\b(?:src|href)=["']?((?:https?:)?//[^"'\s>]+)"""
    r"""|url\(["']?((?:https?:)?//[^"')]+)|@import\s+["']((?:https?:)?//[^"']+)"""
)


def fetched(text: str) -> Iterator[str]:
    """Yield the addresses elsewhere that a page or a style sheet makes a browser fetch."""
    for match in _FETCHED.finditer(text):
        yield next(filter(None, match.groups()))


def main(folder: str) -> int:
    """Report each file with such an address; return 1 if there is one."""
    pages = [path for path in sorted(Path(folder).rglob("*")) if path.suffix in {".html", ".css"}]
    found = [f"{path}: {address}" for path in pages for address in fetched(path.read_text(encoding="utf-8"))]
    if not pages:
        found = [f"{folder}: no page there"]
    for line in found:
        sys.stderr.write(f"fetched when a page is read: {line}\n")
    return min(len(found), 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
