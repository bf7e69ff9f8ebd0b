"""A newcomer's first hour from a fresh clone: the commands of README, then the tutorial, each with its seconds.

    python -m tests.site.newcomers_hour FOLDER

FOLDER is created, and has two clones of HEAD, because README and the tutorial install in different ways. Outputs are compared where the page shows them.
``python3`` is the one on the PATH; packages come from pip's indexes.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

from tests.site.walk import steps_of

ROOT = Path(__file__).parents[2]
_LAST_LINES = 20
"""Lines that are shown of a command that succeeds: pip and progress come before the results."""

INSTALLATION = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def main(folder: str) -> int:
    """Print each command with its seconds; return 1 at the first that fails."""
    base = Path(folder).resolve()
    base.mkdir(parents=True)
    readme, tutorial = base / "readme", base / "tutorial"
    for clone in (readme, tutorial):
        _run(f"git clone -q '{ROOT}' '{clone}'", base)
    commands = [step.text for step in steps_of(_of(readme / "README.md")) if step.kind == "console"]
    page = tutorial / "docs/tutorial.md"
    (installation,) = INSTALLATION.findall(page.read_text(encoding="utf-8"))
    walked = f"set -e\n{installation}cd ..\n.venv/bin/python -m tests.site.walk docs/tutorial.md tutorial"
    done = all(_run(command, readme, shown=True) for command in commands) and _run(
        walked, tutorial, shown=True
    )
    return int(not done)


def _of(readme: Path) -> str:
    """Return README without its Python blocks: they need Tonic, which a newcomer has not installed yet."""
    return re.sub(
        r"^```python\n.*?^```$", "", readme.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )


def _run(command: str, folder: Path, *, shown: bool = False) -> bool:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    began = time.monotonic()
    shell = ["bash", "-c", command]
    done = subprocess.run(
        shell, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    printed = done.stdout + done.stderr
    if shown or done.returncode:
        sys.stdout.write(f"{time.monotonic() - began:7.1f} s  {command}\n")
        last = printed.splitlines()[None if done.returncode else -_LAST_LINES :]
        sys.stdout.write("".join(f"    {line}\n" for line in last))
        sys.stdout.flush()
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
