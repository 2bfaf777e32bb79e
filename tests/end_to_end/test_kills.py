"""What was killed goes on to the end that it would have had: some of the kills of `kills.py`."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from end_to_end.kill_scenes import Scene
from end_to_end.kills import Nursery, kills_of, nursery

from coldstart.files import atomic, atomic_folder, reserved

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

KILLS = {"shard": 7, "add": 7, "predict": 3, "update": 7, "ablate": 1, "fit": 2, "extract": 3}
"""30 in all; an ablation takes longest."""


class Place(NamedTuple):
    """A scene, and the process that begins calls in it."""

    scene: Scene
    nurse: Nursery


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with nursery() as nurse:  # imports what it needs while the scene is made
        yield Place(Scene(tmp_path_factory.mktemp("kills"), rows=[["mgp"]]), nurse)


@pytest.mark.parametrize("verb", KILLS)
def test_a_verb_that_is_killed_goes_on_to_the_same_end(place: Place, verb: str) -> None:
    trials = list(kills_of(verb, KILLS[verb], 0, place.scene, place.nurse))
    assert [fault for one in trials for fault in one.faults] == []
    assert sum(len(one.aims) for one in trials) >= KILLS[verb]


def killed() -> int:
    """The number of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_what_a_killed_writer_left_is_removed_with_a_word_and_a_living_ones_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "coldstart")
    half, other = tmp_path / f".a.{killed()}.json", tmp_path / f".b.{killed()}.json"
    living = tmp_path / f".a.{os.getppid()}.json"
    for path in (half, other, living):
        path.touch()
    with atomic(tmp_path / "a.json") as temporary:
        temporary.write_text("whole")
    assert sorted(tmp_path.iterdir()) == sorted([other, living, tmp_path / "a.json"])
    (message,) = caplog.messages
    assert message == f"{half}: left half-written by a process that was killed; removed"


@pytest.mark.parametrize("old", [False, True])
def test_a_folder_that_was_being_replaced_is_replaced(
    tmp_path: Path, old: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "coldstart")
    for left in (".a.new", *([".a.old"] if old else ["a"])):
        (tmp_path / left).mkdir()
        (tmp_path / left / "x").touch()
    with atomic_folder(tmp_path / "a") as new:
        (new / "y").touch()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "y"]
    assert len(caplog.messages) == 1 + old


def test_a_killed_holder_of_a_folder_is_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "coldstart")
    code = "import os, sys; from coldstart.files import reserved\n"
    code += "with reserved(sys.argv[1], ''): os.kill(os.getpid(), 9)"
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    process.wait()
    for _ in range(2):
        with reserved(tmp_path, "taken"):
            pass
    (message,) = caplog.messages
    assert message == (
        f"{tmp_path}: process {process.pid} was killed at work here; its place is taken"
    )
    assert (tmp_path / ".lock").read_bytes() == b""
