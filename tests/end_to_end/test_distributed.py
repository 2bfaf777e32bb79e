"""DDP on several CPU processes: what one process measures, and an interrupted fit goes on."""

import csv
import json
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from helpers import (
    SMALL_AUDIO,
    World,
    assert_same_fit,
    begin,
    midway,
    progress,
    small_audio,
    wait_for,
)

from coldstart.cli import main
from coldstart.commands.shard import shard
from coldstart.data.datamodule import ColdStartData
from coldstart.data.streams import OnceStream
from coldstart.errors import InputError
from coldstart.training.lightning_module import ColdStart

DDP = ["--trainer.accelerator=cpu", "--trainer.strategy=ddp"]
ALONE = ["--trainer.devices=1", "--trainer.strategy=auto"]
QUICK = ["--trainer.enable_progress_bar=false", "--checkpoint.minutes=0", "--data.batch_size=4"]
KINDS = {
    "in memory": ["--config=mgp_genres.yaml", "--stages=1"],
    "solved": ["--config=kernel.yaml"],
    "streamed": [
        "--config=audio.yaml",
        *(f"--{key}={value}" for key, value in SMALL_AUDIO.items()),
        "--data.workers=1",
    ],
}
ALL = """if True:
    import json, sys
    from coldstart.cli import main
    for words in json.loads(sys.argv[1]):
        assert main(words) == 0, words
"""


class Uneven(NamedTuple):
    """Shards of 5 tracks, the last of each split smaller: held-out splits have 5 + 1."""

    flags: list[str]
    root: Path


@pytest.fixture(scope="module")
def uneven(tiny_world: World, tmp_path_factory: pytest.TempPathFactory) -> Uneven:
    root = tmp_path_factory.mktemp("uneven")
    catalogue = tiny_world.catalogue
    mgp = {"mgp": str(catalogue / "mgp.parquet")}
    options: dict[str, Any] = {
        "attributes": mgp,
        "sample_rate": 8000,
        "shard_size": 5,
        "workers": 1,
    }
    made = shard(
        catalogue / "tracks.parquet", out=root / "shards", splits=tiny_world.splits, **options
    )
    assert made.shard_sizes("val") == made.shard_sizes("test") == [5, 1]
    (root / "all.py").write_text(ALL)
    return Uneven([f"--data.shards={made.folder}", f"--data.factors={tiny_world.factors}"], root)


def fit(uneven: Uneven, kind: str, run: Path, processes: int) -> list[str]:
    args = [f"--run={run}", *KINDS[kind], *uneven.flags, *QUICK, *DDP]
    return ["fit", *args, f"--trainer.devices={processes}", "--trainer.max_epochs=3"]


@pytest.mark.parametrize("processes", [2, 3])
def test_several_processes_measure_what_one_measures(
    uneven: Uneven, processes: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Shards of uneven size, in memory and streamed; with fewer held-out shards than processes."""
    runs = {kind: uneven.root / f"{kind}-{processes}" for kind in KINDS}
    verbs = [
        verb
        for kind, run in runs.items()
        for verb in (fit(uneven, kind, run, processes), ["test", f"--run={run}", *DDP])
    ]
    # A program of its own, for DDP starts it again in each process.
    words = [sys.executable, str(uneven.root / "all.py"), json.dumps(verbs)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=550)
    assert done.returncode == 0, done.stderr[-3000:]
    for run in runs.values():
        several = json.loads((run / "results.json").read_text())
        assert main(["test", f"--run={run}", *ALONE]) == 0
        one = json.loads((run / "results.json").read_text())
        assert several["candidates"] == one["candidates"] == 6
        for a, b in zip(several["rows"], one["rows"], strict=True):
            assert a == {k: pytest.approx(v, abs=1e-4) for k, v in b.items()}
        logged = csv.DictReader((run / "logs" / "fit" / "metrics.csv").open())
        losses = [float(row["val_loss"]) for row in logged if row["val_loss"]]
        capsys.readouterr()
        assert main(["validate", f"--run={run}", *ALONE]) == 0
        (shown,) = re.findall(r"val_loss\D+(\d\.\d+)", capsys.readouterr().out)
        assert min(losses) == pytest.approx(float(shown), abs=1e-5)


def test_a_fit_of_two_processes_goes_on_exactly_after_one_was_killed(uneven: Uneven) -> None:
    """Nobody waits for the dead; and after a SIGTERM it goes on as well."""
    run = uneven.root / "killed"
    args = fit(uneven, "streamed", run, 2)
    process = begin(*args)
    wait_for(midway(run, 1), process)
    (child,) = subprocess.run(
        ["pgrep", "-P", str(process.pid)], capture_output=True, text=True
    ).stdout.split()[:1]
    subprocess.run(["kill", "-KILL", child], check=True)
    process.communicate(timeout=300)
    assert process.returncode != 0

    process, before = begin(*args, "--ckpt_path=last"), progress(run)
    wait_for(lambda: progress(run) > before, process)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=300)[0]
    assert process.returncode == 128 + signal.SIGTERM, said[-3000:]
    assert "coldstart fit: stopped by SIGTERM" in said

    process = begin(*args, "--ckpt_path=last")
    said = process.communicate(timeout=300)[0]
    assert process.returncode == 0, said[-3000:]
    whole = uneven.root / "streamed-2"  # the test above has made it, unless it wasn't run
    if not whole.exists():
        begin(*fit(uneven, "streamed", whole, 2)).communicate(timeout=300)
    assert_same_fit(whole, run)


@pytest.mark.parametrize("world", [2, 3])
def test_no_track_is_lost_or_said_twice_whoever_reads_it(uneven: Uneven, world: int) -> None:
    data, pipeline = streamed(uneven)
    places = [(s, i) for s in ("val", "test") for i in range(len(data.shards.shard_sizes(s)))]
    alone, together = (
        Counter(
            (track, float(values.sum()))
            for rank in range(ranks)
            for batch in OnceStream(pipeline, places, 4, rank, ranks)
            for track, values in zip(batch.track_ids, batch.inputs["audio"].values, strict=True)
        )
        for ranks in (1, world)
    )
    assert alone == together
    assert len({track for track, _ in together}) == 12


def test_too_few_shards_are_said(uneven: Uneven, caplog: pytest.LogCaptureFixture) -> None:
    data, _ = streamed(uneven, workers=99)
    data.batches(["train"], training=True)
    assert "10 training shards are too few for 1 × 99 loader workers" in caplog.text
    data._rank_world_seed = lambda: (0, 11, 0)  # type: ignore[method-assign]
    with pytest.raises(InputError, match="10 training shards for 11 processes"):
        data.batches(["train"], training=True)


def streamed(uneven: Uneven, **options: Any) -> tuple[ColdStartData, Any]:
    shards, factors = (flag.partition("=")[2] for flag in uneven.flags)
    data, model = ColdStartData(shards, factors, **options), ColdStart({"audio": small_audio()})
    model.build(data.info)
    data.lend(model.lend())
    return data, data.pipeline()
