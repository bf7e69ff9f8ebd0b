"""Standard streams that are closed, full or of a narrow encoding: text is lost, the work continues, and the exit status reports it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from spikestore.store.cli.streams import LenientStream, lenient_streams

COMMAND = """
import os, sys
from spikestore.store.cli import main
def run(arguments, command):
    {body}
    open("done", "w").write("done")
    return 0
main._run = run
sys.exit(main.main(["x"]))
"""
PRINTS = "print('result', flush=True)"
PRINTS_BUFFERED = "print('result')"
SAYS = "from spikestore.store.cli.console import say; say('a line')"
NOTHING = "pass"


def status_of(folder: Path, body: str, redirection: str) -> tuple[int, str]:
    """Run a command whose work is `body` with a stream redirected by the shell; return its status and stderr."""
    (folder / "command.py").write_text(COMMAND.format(body=body))
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" command.py {redirection}', sys.executable],  # noqa: S607 - any sh
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (folder / "done").read_text() == "done"
    return done.returncode, done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("body", [PRINTS, PRINTS_BUFFERED])
def test_output_on_a_full_disk_is_an_error_in_one_line(tmp_path: Path, body: str) -> None:
    status, said = status_of(tmp_path, body, ">/dev/full")
    assert status == 1
    assert said == ("spikestore: error: cannot write the output to stdout: No space left on device\n")


@pytest.mark.parametrize("body", [PRINTS, PRINTS_BUFFERED])
def test_output_to_a_closed_stream_is_an_error_in_one_line(tmp_path: Path, body: str) -> None:
    status, said = status_of(tmp_path, body, ">&-")
    assert (status, said.count("\n")) == (1, 1)
    assert "cannot write the output to stdout: Bad file descriptor" in said


@pytest.mark.parametrize(
    "redirection", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-", "2>/dev/full", ">/dev/full"]
)
def test_without_output_the_status_is_that_of_the_work(tmp_path: Path, redirection: str) -> None:
    body = NOTHING if redirection == ">/dev/full" else SAYS
    status, said = status_of(tmp_path, body, redirection)
    assert status == 0
    assert said in ("", "a line\n")


def test_failure_shows_in_the_status_also_where_nobody_hears(tmp_path: Path) -> None:
    body = "open('done', 'w').write('done'); raise ZeroDivisionError"
    assert status_of(tmp_path, body, ">&- 2>&-")[0] == 1


def test_no_file_gets_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    """HDF5 and malloc write to descriptor 2, whatever file that is."""
    body = "assert min(open(os.devnull).fileno(), open(os.devnull).fileno()) > 2"
    assert status_of(tmp_path, body, ">&- 2>&- <&-")[0] == 0


def test_characters_that_an_encoding_lacks_are_escaped() -> None:
    buffer = io.BytesIO()
    stream = LenientStream(io.TextIOWrapper(buffer, encoding="ascii", write_through=True))
    stream.write("µ \udcff")
    assert buffer.getvalue() == b"\\xb5 \\udcff"
    assert stream.lost is None


def test_bytes_are_refused_as_by_any_text_stream() -> None:
    with pytest.raises(TypeError, match="must be str, not bytes"):
        LenientStream(io.StringIO()).write(b"")  # type: ignore[arg-type]


def test_streams_are_put_back() -> None:
    before = sys.stdout, sys.stderr
    with lenient_streams() as stdout:
        assert sys.stdout is stdout
    assert (sys.stdout, sys.stderr) == before


def test_a_stream_in_non_blocking_mode_loses_nothing(tmp_path: Path) -> None:
    """The command waits for its reader, and leaves the mode as it was, because other programs share it."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    (tmp_path / "command.py").write_text(COMMAND.format(body="print('x' * 1_000_000)"))
    with (
        subprocess.Popen([sys.executable, "command.py"], cwd=tmp_path, stdout=writing) as command,
        ThreadPoolExecutor(1) as pool,
        os.fdopen(reading, "rb") as output,
    ):
        read = pool.submit(output.read)
        status = command.wait(60)
        is_blocking = os.get_blocking(writing)
        os.close(writing)
        assert (status, is_blocking, len(read.result())) == (0, False, 1_000_001)
