"""The tutorial: its steps print what the page shows, and the notebook has the same steps."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.site.notebook import PAGE, notebook_of
from tests.site.walk import difference, steps_of

SMALL = """Text.

```bash
pip install .
```

More.

```toml title="a.toml"
name = "a"
```

```console
$ one 1
first
second
$ two
```

```python
print(1)
```

```text
1
```

End.
"""


def test_steps_of_a_page() -> None:
    steps = [*steps_of(SMALL)]
    assert [step.kind for step in steps] == ["prose", "file", "console", "console", "python", "prose"]
    assert "pip install ." in steps[0].text
    assert [step.shown for step in steps[2:5]] == ["first\nsecond\n", "", "1\n"]
    assert steps[1].title == "a.toml"
    for wrong in ("```sh\nls\n```\n", "```text\n1\n```\n", "```toml\nname = 1\n```\n"):
        with pytest.raises(ValueError, match="nothing runs this block"):
            [*steps_of(wrong)]


@pytest.mark.parametrize(
    ("shown", "printed", "equal"),
    [
        ("wrote a (12 bytes)", "wrote a (12 bytes)\n", True),
        ("wrote a (12 bytes)", "wrote a (13 bytes)\n", False),
        ("wrote a", "wrote a\nand b\n", False),
        ("in …/store:", "in /somewhere/store:\n", True),
        ("in …/store:", "in /somewhere/stores:\n", False),
        ("done in 3 s, 1.5 MB/s", "done in 17.2 s, 80 MB/s\n", True),
        ("accuracy 0.36", "accuracy 0.30\n", True),
        ("accuracy 0.36", "accuracy 0.06\n", False),
    ],
)
def test_outputs_are_compared(shown: str, printed: str, equal: bool) -> None:
    assert (difference(shown, printed) == "") is equal


def test_the_notebook_is_that_of_the_page() -> None:
    expected = notebook_of(PAGE.read_text(encoding="utf-8"))
    current = PAGE.with_suffix(".ipynb").read_text(encoding="utf-8")
    assert current == expected, "python -m tests.site.notebook writes the notebook"
    assert sum(cell["cell_type"] == "code" for cell in json.loads(current)["cells"]) >= 8


@pytest.mark.slow
def test_the_tutorial_prints_what_it_shows(tmp_path: Path) -> None:
    """Twenty seconds of processor time: the recordings of a page that a reader follows are not fewer for the test."""
    command = [sys.executable, "-m", "tests.site.walk", str(PAGE), str(tmp_path / "tutorial")]
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": str(PAGE.parents[1])},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
