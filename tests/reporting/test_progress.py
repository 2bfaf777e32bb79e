"""One line that changes on a terminal, plain lines at times elsewhere, nothing in a library."""

import io
import logging
from contextlib import redirect_stderr

import pytest

from coldstart.reporting import progress
from coldstart.reporting.foreign import LOGGERS
from coldstart.reporting.log import shown
from coldstart.reporting.progress import Progress, doing, showing, tracked


class Terminal(io.StringIO):
    """A stream that is one, of 80 columns."""

    def isatty(self) -> bool:
        return True

    def screen(self) -> list[str]:
        """The lines that a person sees, after the last character."""
        lines = []
        for written in self.getvalue().split("\n"):
            line = ""
            for piece in written.split("\r"):
                line = piece + line[len(piece) :]
            lines.append(line.rstrip())
        return lines


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setattr(progress, "REDRAWN", 0.0)
    monkeypatch.delenv("TERM", raising=False)
    return Terminal()


def test_a_library_shows_nothing(terminal: Terminal) -> None:
    with redirect_stderr(terminal):
        assert list(tracked(range(3), "counting", "things")) == [0, 1, 2]
        doing("thinking")
    assert terminal.getvalue() == ""


def test_a_terminal_has_one_line_which_goes_at_the_end(terminal: Terminal) -> None:
    display = Progress("sharding", 4000, "tracks")
    with redirect_stderr(terminal), showing("shard"), display:
        display.add(1000)
        assert terminal.screen() == [f"sharding {'━' * 5}{'─' * 15} 1,000 of 4,000 tracks"]
        with Progress("another, within", 3, "things") as inner:
            inner.add()
        assert len(terminal.screen()) == 1
        assert "another" not in terminal.getvalue()
    assert terminal.screen() == [""]


def test_a_line_of_the_log_stands_above_it(terminal: Terminal) -> None:
    with redirect_stderr(terminal), shown("shard"), Progress("sharding", 10, "tracks") as display:
        logging.getLogger("coldstart.shards").info("a remark")
        display.add()
        assert terminal.screen()[0] == "a remark"
        assert terminal.screen()[1].startswith("sharding ━━─")
        logging.getLogger(LOGGERS[0]).error("of another package")  # whoever shows it has a line
        assert terminal.screen()[1] == ""


def test_work_of_unknown_length_takes_the_bar_s_place(terminal: Terminal) -> None:
    with redirect_stderr(terminal), showing("fit"), Progress("epoch 1 of 1", 9) as display:
        display.add()
        doing("Kernel: solving 6,065 tracks")
        assert terminal.screen() == ["Kernel: solving 6,065 tracks"]


def test_a_file_has_plain_lines_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    with redirect_stderr(file), showing("fit"):
        for _ in tracked(range(1000), "epochs", "of them"):
            pass
    assert file.getvalue() == ""  # half a minute has not passed
    monkeypatch.setattr(progress, "EVERY", 0.0)
    with redirect_stderr(file), showing("fit"), Progress("epoch 12 of 100", 100) as display:
        display.note = lambda: "val_loss 0.41"
        display.add(12)
    assert file.getvalue().splitlines()[-1] == "coldstart fit: epoch 12 of 100, val_loss 0.41"
    assert "\r" not in file.getvalue()


def test_a_time_is_told_once_it_is_known() -> None:
    clock = progress._Clock()
    clock.read(10, 0.001)  # slow to begin: 10,000 s, it seems
    assert clock.left(10, 0.001) is None
    clock.read(20, 0.3)
    assert clock.left(20, 0.3) is None  # 67 s, it seems: quite another figure
    clock.read(40, 0.6)
    left = clock.left(40, 0.6)
    assert left is not None
    assert 26 < left < 27


def test_what_was_done_before_says_nothing_of_the_time() -> None:
    display = Progress("fetching", 300e6, "bytes", done=100e6)
    display.add(50e6)
    assert display._share() == 0.25
    assert display.text() == "fetching: 150 of 300 MB"
