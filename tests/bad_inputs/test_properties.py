"""Any damage to any file of ours ends in a sentence, or in what the file still says."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pytest
import soundfile
import torch
from bad_inputs.damage import copy_of
from bad_inputs.mutation import mutated, refused_or
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import coldstart as cs
from coldstart.commands.shard import shard
from coldstart.encoders.base import Encoder
from coldstart.evaluation.calibration import Calibration
from coldstart.factors.events import events_of
from coldstart.factors.factors import Factors
from coldstart.factors.update import current_factors, update_factors
from coldstart.model.ensemble import Ensemble
from coldstart.model.predictions import Predictions
from coldstart.runs.ensemble import read_ensemble, settings_of_run, write_ensemble
from coldstart.runs.first_stage import Stage, first_stage_of, write_first_stage
from coldstart.runs.places import data_places, lost_places, remember
from coldstart.runs.run import open_run
from coldstart.shards.reading import Shards
from coldstart.tables.splits import IN_USE
from coldstart.training.trust import must_be_known

FEW = settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
"""Few examples a file: there are many files. `make fuzz` takes more."""


class Kind(NamedTuple):
    """A folder of files that coldstart writes.

    Attributes:
        make: writes it.
        read: reads all of it; what must stay the same where a checksum says that it does.
        files: patterns of the files to be damaged.
        summed: patterns of those that have checksums: no damage of theirs may be read.
    """

    make: Callable[[Path], object]
    read: Callable[[Path], Any]
    files: tuple[str, ...]
    summed: tuple[str, ...] = ()


# Shards


def _batches(folder: Path, encoders: dict[str, Encoder]) -> list[bytes]:
    """All batches, as a model gets them."""
    data = cs.ColdStartData(str(folder / "shards"), str(folder / "factors"), workers=0)
    model = cs.ColdStart(encoders)
    model.build(data.info)
    data.lend(model.lend())
    batches = list(data.batches(IN_USE))
    return [each.values.numpy().tobytes() for b in batches for each in b.inputs.values()]


def _shards(folder: Path) -> None:
    copy_of("shards", folder)
    copy_of("factors", folder)


def _read_shards(folder: Path) -> list[bytes]:
    Shards(folder / "shards").tracks_in_use()
    return _batches(folder, {"mgp": cs.MGP(hidden=[4]), "genres": cs.Genres(hidden=[4])})


def _sounds(folder: Path) -> None:
    """Two shards of sound and two of spectrograms."""
    copy_of("factors", folder)
    ids = [f"s{number}" for number in range(4)]
    for number, track in enumerate(ids):
        tone = 0.4 * np.sin(np.arange(12_000) * (0.05 + 0.01 * number))
        soundfile.write(folder / f"{track}.wav", tone, 8000)
    audio = [str(folder / f"{track}.wav") for track in ids]
    tracks = pl.DataFrame({"track_id": ids, "title": ids, "artist": ids, "audio": audio})
    tracks.write_parquet(folder / "tracks.parquet")
    for store in ("flac", "cqt"):
        shard(
            folder / "tracks.parquet",
            out=folder / "shards",
            sample_rate=8000,
            bins=24,
            frame_hop=256,
            store=store,
            modalities=["audio"],
            shard_size=2,
            workers=1,
        )


def _read_sounds(folder: Path) -> list[bytes]:
    small: dict[str, Any] = {"net": "small", "patch_seconds": 1.3, "dim": 4}
    waves = cs.Audio(bins=24, fmin=110, frame_hop=256, **small)
    return _batches(folder, {"audio": waves, "cqt": cs.Spectrogram("cqt", **small)})


# Factors


def _factors(folder: Path) -> None:
    copy_of("factors", folder)
    Factors.load(folder / "factors").write(folder / "factors")  # with checksums


def _read_factors(folder: Path) -> Any:
    found = current_factors(folder / "factors")
    return (
        [*found.track_ids, *found.user_ids],
        [np.asarray(each).tobytes() for each in (found.tracks, found.users, found.folded)],
        found.listens.data.tobytes(),
    )


def _updated(folder: Path) -> None:
    _factors(folder)
    ids = Factors.load(folder / "factors").track_ids[:2]
    rows = pl.DataFrame({"user_id": ["u00", "new"], "track_id": ids, "plays": [2.0, 1]})
    update_factors(folder / "factors", events_of(rows, "plays", "listens"))


# Models and runs


def _predictions(folder: Path) -> None:
    values = torch.arange(12.0).reshape(4, 3)
    found = Predictions([f"t{i}" for i in range(4)], values)
    found.save(folder, [{"track_id": track} for track in found.track_ids])


def _read_predictions(folder: Path) -> Any:
    found = Predictions.load(folder)
    return found.track_ids, found.values.numpy().tobytes()


def _weights(model: Any) -> Any:
    return {name: value.numpy().tobytes() for name, value in model.state_dict().items()}


def _run(folder: Path) -> None:
    _shards(folder)
    run = copy_of("runs", folder) / "mgp"
    write_ensemble(run, Calibration(Ensemble(), {"users": 3}))
    write_first_stage(run, {"mgp": Stage("mgp", [str(run / "stage1")], "factors", "x")})
    remember(run, {"shards": str(folder / "shards"), "factors": str(folder / "factors")})


def _read_run(folder: Path) -> Any:
    run = folder / "runs" / "mgp"
    must_be_known(run)
    lost_places(run)
    found = read_ensemble(run), settings_of_run(run), first_stage_of(run), data_places(run)
    return found, _weights(open_run(run).model)


def _read_checkpoint(folder: Path) -> Any:
    return _weights(cs.load(folder / "runs" / "mgp" / "checkpoints" / "best.ckpt"))


def _read_exported(folder: Path) -> Any:
    return _weights(cs.ColdStart.from_pretrained(folder / "exported"))


KINDS = {
    "shards": Kind(
        *(_shards, _read_shards),
        ("shards/dataset.json", "shards/train/*/*.json", "shards/*/mgp/*.tar", "shards/*/gen*/*"),
    ),
    "sound": Kind(
        *(_sounds, _read_sounds),
        ("shards/dataset.json", "shards/test/tracks/000000.json", "shards/test/*/000000.tar"),
    ),
    "factors": Kind(_factors, _read_factors, ("factors/*",), ("factors/*.[ps]*",)),
    "factors of before": Kind(lambda f: copy_of("factors", f), _read_factors, ("factors/*",)),
    "updates": Kind(_updated, _read_factors, ("factors/updates/**/*.*",)),
    "predictions": Kind(_predictions, _read_predictions, ("*",), ("*.[ps]*",)),
    "run": Kind(_run, _read_run, ("runs/mgp/*.yaml", "runs/mgp/[efps]*.json")),
    "checkpoint": Kind(_run, _read_checkpoint, ("runs/mgp/checkpoints/best.ckpt",)),
    "exported model": Kind(lambda f: copy_of("exported", f), _read_exported, ("exported/*.[js]*",)),
}


@pytest.fixture(scope="module", params=KINDS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A kind, its folder, and what is read of it."""
    kind = KINDS[request.param]
    folder = tmp_path_factory.mktemp("made")
    kind.make(folder)
    return kind, folder, kind.read(folder)


@contextlib.contextmanager
def replaced(path: Path, content: bytes) -> Iterator[None]:
    """Another content, until it is left; and whatever reading has written beside it goes."""
    whole = path.read_bytes()
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(whole)


@FEW
@given(data=st.data())
def test_a_damaged_file_is_refused_or_read(made: Any, data: st.DataObject) -> None:
    kind, folder, before = made
    paths = sorted(path for each in kind.files for path in folder.glob(each) if path.is_file())
    path = data.draw(st.sampled_from(paths), label="file")
    content = data.draw(mutated(path.read_bytes()), label="content")
    with replaced(path, content):
        after = refused_or(lambda: kind.read(folder))
    if any(path in folder.glob(each) for each in kind.summed):
        assert isinstance(after, cs.InputError) or after == before
