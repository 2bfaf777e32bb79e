"""Two writers at once, a full disk, a clock that jumps, a folder that can't be written to: a
sentence, and nothing is lost.
"""

import ctypes
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest
from helpers import Fitted, World, data_flags, parquet, times

from coldstart.cli import main
from coldstart.factors.factors import Factors
from coldstart.model.predictions import Predictions
from coldstart.shards.reading import Shards

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="limits and rights of POSIX")

QUICK = ["--trainer.max_epochs=1", "--trainer.enable_progress_bar=false", "--data.workers=0"]
STAYS = (".parts", ".progress")
"""What may stay: no temporary files."""


class Copies(NamedTuple):
    """Folders of the tiny world that may be changed."""

    root: Path
    world: World
    shards: Path
    factors: Path
    run: Path

    @property
    def tracks(self) -> str:
        return str(self.world.catalogue / "tracks.parquet")

    @property
    def listens(self) -> str:
        return str(self.world.catalogue / "listens.parquet")

    def verbs(self) -> dict[str, list[str]]:
        """Every verb that writes, at work in these folders."""
        out, data = self.root / "new", data_flags(self.world)
        new = parquet(self.root, track_id=["n1", "n2"], title=["n1", "n2"], artist=["x", "y"])
        listens = self.root / "later.csv"
        listens.write_text("user_id,track_id,plays\nu00001,t000001,3\nsomebody,t000002,2\n")
        mgp = f"--attributes.mgp={self.world.catalogue / 'mgp.parquet'}"
        return {
            "split": [self.tracks, f"--out={out / 'splits.parquet'}"],
            "factorize": [self.listens, f"--out={out / 'factors'}", "--factors=8"],
            "update": [str(self.factors), f"--listens={listens}"],
            "shard": [self.tracks, mgp, "--modalities=[]", f"--out={out / 'shards'}"],
            "add": [str(new), f"--shards={self.shards}", "--modalities=[]"],
            "remove": ["t000001", f"--shards={self.shards}"],
            "fit": ["--config=mgp.yaml", f"--run={out / 'run'}", *data, *QUICK],
            "predict": [f"--run={self.run}", *QUICK[1:]],
            "test": [f"--run={self.run}", *QUICK[1:]],
            "export": [f"--run={self.run}", f"--out={out / 'export'}"],
            "recommend": [f"--run={self.run}", "--users=all", f"--out={out / 'all.parquet'}"],
            "new-encoder": ["Poems", f"--out={out}"],
        }


@pytest.fixture
def copies(tiny_world: World, mgp_genres: Fitted, tmp_path: Path) -> Copies:
    """The run's own shards and factors are these copies."""
    made = Copies(tmp_path, tiny_world, tmp_path / "shards", tmp_path / "factors", tmp_path / "run")
    shutil.copytree(tiny_world.shards, made.shards)
    shutil.copytree(tiny_world.factors, made.factors)
    shutil.copytree(mgp_genres.run, made.run, ignore=shutil.ignore_patterns("predictions*"))
    (made.root / "new").mkdir()
    return made


def content(folder: Path) -> dict[str, bytes]:
    """All files of a folder, but for logs and locks."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in STAYS and "logs" not in path.parts
    }


def halves(folder: Path) -> list[Path]:
    hidden = (path for path in folder.rglob(".*") if not path.name.endswith(".lock"))
    return [path for path in hidden if path.name not in STAYS]


# A full disk.


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file may become longer than `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


FULL = {"new-encoder": 100, "remove": 100, "split": 200}
"""Bytes that a file may have: fewer than the verb's largest one has."""

WRITING = (
    *("split", "factorize", "update", "shard", "add", "remove", "fit", "predict", "test"),
    *("export", "recommend", "new-encoder"),
)


@pytest.mark.parametrize("verb", WRITING)
def test_a_full_disk_is_a_sentence_and_the_same_command_goes_on(
    verb: str, copies: Copies, capsys: pytest.CaptureFixture[str]
) -> None:
    args = copies.verbs()[verb]
    before = {name: content(copies.root / name) for name in ("shards", "factors", "run")}
    with full_disk(FULL.get(verb, 400)):
        status = main([verb, *args])
    said = capsys.readouterr().err
    assert status == 2, said[-3000:]
    sentence = said.strip().splitlines()[-1]
    assert sentence.startswith(f"coldstart {verb}: "), said[-3000:]
    assert "no space left" in sentence
    assert str(copies.root) in sentence
    for name, files in before.items():
        now = content(copies.root / name)
        assert {path: now.get(path) for path in files} == files
    assert halves(copies.root) == []
    assert main([verb, *args]) == 0, capsys.readouterr().err[-3000:]
    assert halves(copies.root) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB, if this user may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "coldstart-test", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("NO DISK THAT IS FULL: only root may mount one; limits of size are tested")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_disk_that_is_full_is_a_sentence(
    small_disk: Path, tiny_world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    tracks, listens = (tiny_world.catalogue / f"{name}.parquet" for name in ("tracks", "listens"))
    for verb, source, name in (
        ("shard", tracks, "shards"),
        ("factorize", listens, "factors"),
    ):
        filler = small_disk / "filler"
        filler.write_bytes(bytes(shutil.disk_usage(small_disk).free - 8192))
        assert main([verb, str(source), f"--out={small_disk / name}"]) == 2
        sentence = capsys.readouterr().err.strip().splitlines()[-1]
        assert sentence.startswith(f"coldstart {verb}: {small_disk}")
        assert "no space left" in sentence
        assert halves(small_disk) == []
        filler.unlink()


# Two writers.

WRITER = """
import contextlib, io, json, os, sys, time
from pathlib import Path
import torch
from coldstart.cli import main
import coldstart.training.lightning_cli, coldstart.commands.factorize
torch.set_num_threads(1)
own, other, cases = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
results = []
for number, words in enumerate(cases):
    (own / str(number)).touch()
    while not (other / str(number)).exists():
        time.sleep(0.001)
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            status = main(words)
        except BaseException as error:
            status = repr(error)
    results.append([status, said.getvalue()])
(own / "results.json").write_text(json.dumps(results))
os._exit(0)
"""


def test_of_two_writers_one_waits_or_is_refused_and_what_is_written_is_whole(
    copies: Copies,
) -> None:
    """The same command twice, at the same moment; each pair of them begins together."""
    verbs = {
        verb: args
        for verb, args in copies.verbs().items()
        if verb in ("shard", "factorize", "update", "add", "fit", "predict", "split", "recommend")
    }
    cases = json.dumps([[verb, *args] for verb, args in verbs.items()])
    places = [copies.root / name for name in ("one", "two")]
    for place in places:
        place.mkdir()
    processes = [
        subprocess.Popen([sys.executable, "-c", WRITER, own, other, cases], stderr=subprocess.PIPE)
        for own, other in (places, places[::-1])
    ]
    errors = [process.communicate(timeout=300)[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    results = [json.loads((place / "results.json").read_text()) for place in places]
    for verb, *both in zip(verbs, *results, strict=True):
        statuses = sorted(str(status) for status, _ in both)
        assert statuses in (["0", "0"], ["0", "2"]), (verb, both)
        for status, said in both:
            if status == 2:
                assert f"coldstart {verb}: " in said.strip().splitlines()[-1], (verb, said)
    assert halves(copies.root) == []
    new = copies.root / "new"
    assert len(Factors.load(new / "factors").track_ids) > 0
    assert {"n1", "n2"} <= {track["track_id"] for track in Shards(copies.shards).tracks_in_use()}
    assert len(Predictions.load(copies.run / "predictions")[0]) >= 60
    assert pl.read_parquet(new / "all.parquet")["user_id"].n_unique() == 40
    assert pl.read_parquet(new / "splits.parquet")["track_id"].n_unique() == 60
    report = json.loads((copies.factors / "updates" / "report.json").read_text())
    assert report["updates"] == 1
    assert main(["test", f"--run={new / 'run'}", *QUICK[1:]]) == 0


# A clock that jumps.


@pytest.mark.parametrize("years", [-30, 30])
def test_times_of_files_say_nothing(
    years: int, copies: Copies, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is there is taken as it is, however old or new it claims to be."""
    verbs, real = copies.verbs(), time.time
    again = ("shard", "update", "add", "predict")
    for verb in again:
        assert main([verb, *verbs[verb]]) == 0
    jump = years * 365 * 86_400
    for path in copies.root.rglob("*"):
        os.utime(path, (real() + jump, real() + jump))
    before, tars = content(copies.root / "new"), times(copies.root)
    monkeypatch.setattr(time, "time", lambda: real() - jump)
    capsys.readouterr()
    for verb in again:
        assert main([verb, *verbs[verb]]) == 0
    said = capsys.readouterr()
    assert "were there before: nothing has changed" in said.out
    assert "already there, with the same content" in said.out
    assert times(copies.root) == tars
    assert content(copies.root / "new") == before


def test_a_clock_that_jumps_while_a_fit_is_at_work_changes_nothing(
    copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = time.time, [0]

    def jumping() -> float:
        calls[0] += 1
        return real() + (calls[0] % 3 - 1) * 86_400

    monkeypatch.setattr(time, "time", jumping)
    assert main(["fit", *copies.verbs()["fit"]]) == 0
    assert main(["test", f"--run={copies.root / 'new' / 'run'}", *QUICK[1:]]) == 0


# A folder that can't be written to.

READER = """
import contextlib, io, json, os, sys, time
from coldstart.cli import main
results = []
for words in json.loads(sys.argv[1]):
    said, printed, began = io.StringIO(), io.StringIO(), time.perf_counter()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(printed):
        try:
            status = main(words)
        except BaseException as error:
            status = repr(error)
    results.append([status, said.getvalue(), time.perf_counter() - began])
print(json.dumps(results), flush=True)
os._exit(0)
"""


def _without_roots_rights() -> None:
    """Let folders' rights count for root, too: in Linux, after the next program has started."""
    if sys.platform == "linux" and os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        for right in (1, 2, 3):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER
            libc.prctl(24, right, 0, 0, 0)  # PR_CAPBSET_DROP


def _run_without_rights(cases: list[list[str]], cache: Path) -> list[tuple[Any, str, float]]:
    done = subprocess.run(
        [sys.executable, "-c", READER, json.dumps(cases)],
        preexec_fn=_without_roots_rights,
        env=os.environ | {"OMP_NUM_THREADS": "1", "COLDSTART_CACHE": str(cache)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


@contextmanager
def read_only(*folders: Path) -> Iterator[None]:
    places = [place for folder in folders for place in (folder, *folder.rglob("*"))]
    modes = {place: place.stat().st_mode for place in places}
    for place, mode in modes.items():
        place.chmod(mode & 0o555)
    try:
        yield
    finally:
        for place, mode in modes.items():
            if place.exists():
                place.chmod(mode)


@pytest.mark.skipif(
    sys.platform != "linux" and os.geteuid() == 0, reason="root may write everywhere"
)
def test_from_folders_that_can_only_be_read_all_is_read_and_nothing_written(
    copies: Copies,
) -> None:
    verbs, run, elsewhere = copies.verbs(), f"--run={copies.run}", copies.root / "elsewhere"
    elsewhere.mkdir()
    reading = [
        ["recommend", run, "--like=t000001"],
        ["neighbours", run, "--like=t000001"],
        ["export", run, f"--out={elsewhere / 'export'}"],
        ["recommend", run, "--users=all", f"--out={elsewhere / 'all.parquet'}"],
        ["test", run, f"--trainer.default_root_dir={elsewhere}", *QUICK[1:]],
        ["validate", run, f"--trainer.default_root_dir={elsewhere}", *QUICK[1:]],
    ]
    writing = [[verb, *verbs[verb]] for verb in WRITING]
    writing += [
        ["demo", f"--out={copies.root / 'new' / 'demo'}"],
        ["dataset", "hetrec-lastfm", f"--out={copies.root / 'new' / 'tables'}"],
    ]
    folders = [copies.root / name for name in ("shards", "factors", "run", "new")]
    before = {folder: content(folder) for folder in folders}
    with read_only(*folders):
        results = _run_without_rights([*reading, *writing], copies.root / "cache")
    for words, (status, said, _) in zip(reading, results, strict=False):
        assert status == 0, (words, said[-2000:])
    for words, (status, said, seconds) in zip(writing, results[len(reading) :], strict=True):
        assert status == 2, (words, status, said[-2000:])
        sentence = said.strip().splitlines()[-1]
        assert sentence.startswith(f"coldstart {words[0]}: {copies.root}"), said[-2000:]
        assert "can't be written" in sentence or "read-only" in sentence, sentence
        assert seconds < 3, (words, seconds)
    assert {folder: content(folder) for folder in folders} == before
