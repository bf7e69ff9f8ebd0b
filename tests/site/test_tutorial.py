"""The tutorial: the notebook has the steps of the page, and prints what it shows."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from tests.site.notebook import PAGE, left_on_a_terminal, notebook_of
from tests.site.walk import difference, steps_of, walk

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


def test_commands_that_fail_and_outputs_that_differ_are_reported(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(SMALL.replace("$ one 1\nfirst\nsecond\n$ two", '$ cat a.toml\nname = "b"\n$ false'))
    walked = [*walk(page, tmp_path)]
    assert [bool(one.wrong) for one in walked] == [False, True, True]
    assert 'name = "a"' in walked[1].wrong
    assert walked[2].wrong.startswith("exit status 1")


def test_what_is_left_on_a_terminal() -> None:
    text = "\x1b[?25l\r\x1b[2Ka \x1b[90m━━\x1b[0m 1/2\r\n\r\x1b[2K\x1b[1A\x1b[2Kwrote a\r\na ━━ 2/2\r\n\x1b[?25hdone\r\n"
    assert left_on_a_terminal(text) == "wrote a\ndone\n"


@pytest.mark.slow
def test_the_notebook_prints_what_it_shows(tmp_path: Path) -> None:
    """It uses all recordings of the page, although that takes twenty seconds of processor time."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    written = json.loads(PAGE.with_suffix(".ipynb").read_text(encoding="utf-8"))
    notebook = nbformat.reads(json.dumps(written), as_version=4)
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": "",
        "COLUMNS": "120",  # the terminal of a notebook has 80, and the page does not wrap its lines
        "IPYTHONDIR": str(tmp_path / "ipython"),
    }
    client = nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}})
    client.execute(env=environment)
    compared = 0
    for before, after in zip(written["cells"], notebook.cells, strict=True):
        if after.cell_type == "code" and not after.source.startswith("%"):
            shown, printed = (
                "".join("".join(one.get("text", "")) for one in outputs)
                for outputs in (before["outputs"], after.outputs)
            )
            assert difference(shown.rstrip("\n"), left_on_a_terminal(printed)) == ""
            compared += 1
    assert compared >= 10
