"""Console output shared by all commands."""

from __future__ import annotations

import io
import json
import logging
import sys

import pytest

from spikestore.store.cli.console import (
    logs_on_stderr,
    print_json,
    progress,
    progress_lines,
    say,
    stdout_console,
)


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


class Clock:
    """A clock whose time a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_json_goes_to_stdout_and_is_strict(capsys: pytest.CaptureFixture[str]) -> None:
    document = {"b": [1, 2.5, None], "a": "ä"}
    print_json(document)
    captured = capsys.readouterr()
    assert json.loads(captured.out) == document
    assert captured.err == ""
    with pytest.raises(ValueError, match="not JSON compliant"):
        print_json(float("nan"))


def test_a_pipe_gets_lines_uncut(capsys: pytest.CaptureFixture[str]) -> None:
    stdout_console().print("name " * 60)
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_lines_are_occasional_and_show_rate_and_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    report = progress_lines("samples", every=10, clock=clock)
    for second in range(0, 41, 2):
        clock.now = float(second)
        report(1000 + 100 * second, 5000, "train")
    report(5000, 5000, "train")
    assert capsys.readouterr().err.splitlines() == [
        "train: 1,000 of 5,000 samples",
        "train: 2,000 of 5,000 samples, 100/s, 30 s left",
        "train: 3,000 of 5,000 samples, 100/s, 20 s left",
        "train: 4,000 of 5,000 samples, 100/s, 10 s left",
        "train: 5,000 of 5,000 samples, 100/s in 40 s",
    ]


@pytest.mark.parametrize(("left", "text"), [(59, "59 s"), (61, "1 min 1 s"), (7384, "2 h 3 min")])
def test_time_left_is_readable(left: int, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    report = progress_lines(every=1, clock=clock)
    for clock.now, done in ((0.0, 0), (10.0, 10), (20.0, 20)):
        report(done, left + 20, "train")
    assert capsys.readouterr().err.splitlines()[2] == f"train: 20 of {left + 20:,} samples, 1/s, {text} left"


def test_what_takes_long_to_start_is_not_slow(capsys: pytest.CaptureFixture[str]) -> None:
    """The remaining time is computed from the first progress on, without the work that had ended by then."""
    clock = Clock()
    report = progress_lines(every=10, clock=clock)
    for clock.now, done in ((0.0, 0), (9.0, 100), (10.0, 200), (29.0, 300), (49.0, 500), (99.0, 1000)):
        report(done, 1000, "train")
    assert capsys.readouterr().err.splitlines() == [
        "train: 0 of 1,000 samples",
        "train: 200 of 1,000 samples",
        "train: 300 of 1,000 samples, 10/s, 1 min 10 s left",
        "train: 500 of 1,000 samples, 10/s, 50 s left",
        "train: 1,000 of 1,000 samples, 10/s in 1 min 39 s",
    ]


def test_labels_are_counted_apart(capsys: pytest.CaptureFixture[str]) -> None:
    report = progress_lines()
    report(4, 4, "train")
    report(2, 2, "test")
    assert capsys.readouterr().err.splitlines() == ["train: 4 of 4 samples", "test: 2 of 2 samples"]


def test_no_terminal_gets_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with logs_on_stderr(), progress("recordings") as report:
        report(3, 3, "train")
    assert capsys.readouterr().err == "train: 3 of 3 recordings\n"


def test_a_terminal_gets_bars_below_which_logs_stay_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with logs_on_stderr(), progress() as report:
        report(1, 4, "train")
        logging.getLogger("spikestore.test").info("said in between")
        say("and this")
        report(4, 4, "train")
    shown = terminal.getvalue()
    assert "4/4" in shown
    assert "said in between\n" in shown
    assert "and this\n" in shown


def test_quiet_shows_no_progress(capsys: pytest.CaptureFixture[str]) -> None:
    with logs_on_stderr(quiet=True), progress() as report:
        report(1, 1, "train")
    assert capsys.readouterr() == ("", "")
