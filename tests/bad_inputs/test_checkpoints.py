"""Checkpoints, exported models and stored predictions: damaged, or changed by hand."""

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from bad_inputs.damage import (
    HOLDS,
    OTHERS,
    changed,
    copy_of,
    flipped,
    no_file,
    refused,
    set_in,
    with_arrays,
    with_table,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import coldstart as cs
from coldstart.cli import main
from coldstart.model.predictions import FILES, Predictions
from coldstart.runs.predictions import predictions_of
from coldstart.runs.run import open_run

SEVERAL = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    copy_of("shards", tmp_path)
    copy_of("factors", tmp_path)
    return copy_of("runs", tmp_path)


@pytest.fixture
def checkpoint(runs: Path) -> Path:
    path = runs / "mgp" / "checkpoints" / "best.ckpt"
    cs.load(path)  # it is whole
    return path


# Checkpoints


def stored_anew(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change what a checkpoint holds, with the right checksums."""
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)


@SEVERAL
@given(data=st.data())
def test_a_flipped_bit_in_what_a_checkpoint_holds_is_noticed(
    checkpoint: Path, data: st.DataObject
) -> None:
    content = checkpoint.read_bytes()
    with zipfile.ZipFile(checkpoint) as archive:
        member = data.draw(st.sampled_from([m for m in archive.infolist() if m.file_size]))
    start = content.index(member.filename.encode(), member.header_offset) + len(member.filename)
    start += int.from_bytes(
        content[member.header_offset + 28 : member.header_offset + 30], "little"
    )
    place = data.draw(st.integers(start, start + member.file_size - 1))
    flipped(checkpoint, place, data.draw(st.integers(0, 7)))
    with pytest.raises(cs.InputError, match=r"best\.ckpt: not a checkpoint that can be read"):
        cs.load(checkpoint)
    checkpoint.write_bytes(content)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9, 0.999])
def test_a_checkpoint_that_is_cut_off_is_named(checkpoint: Path, share: float) -> None:
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(cs.InputError, match=r"best\.ckpt: not a checkpoint") as caught:
        cs.load(checkpoint)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_file_is_not_waited_for(checkpoint: Path, kind: str) -> None:
    no_file(checkpoint, kind)
    with pytest.raises(cs.InputError, match=r"best\.ckpt"):
        cs.load(checkpoint)


def test_a_compressed_checkpoint_is_not_unpacked(checkpoint: Path) -> None:
    with zipfile.ZipFile(checkpoint, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(1 << 24))
    with pytest.raises(cs.InputError, match=r"best\.ckpt: .*compressed"):
        cs.load(checkpoint)


def test_the_format_of_before_and_code_in_a_pickle_are_refused(
    checkpoint: Path, tmp_path: Path
) -> None:
    content = torch.load(checkpoint, weights_only=True)
    torch.save(content, checkpoint, _use_new_zipfile_serialization=False)
    with pytest.raises(cs.InputError, match=r"best\.ckpt: not a checkpoint"):
        cs.load(checkpoint)

    class Code:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "run"),)

    torch.save(content | {"more": Code()}, checkpoint)
    with pytest.raises(cs.InputError, match="safely"):
        cs.load(checkpoint)
    assert not (tmp_path / "run").exists()


WEIGHT = "encoders.mgp.net.0.weight"


def weight(change: Callable[[Any], Any]) -> Callable[[dict[str, Any]], object]:
    return lambda content: content["state_dict"].update(
        {WEIGHT: change(content["state_dict"][WEIGHT])}
    )


def field(place: str, value: Any = ...) -> Callable[[dict[str, Any]], object]:
    return lambda content: set_in(content, place, value)


RECIPES: list[tuple[str, Any]] = [
    ("version", ...),
    ("version", 7),
    ("version", "1"),
    ("encoders", ...),
    ("encoders", []),
    ("encoders", {}),
    ("encoders.mgp", None),
    ("encoders.mgp.class", ...),
    ("encoders.mgp.class", 5),
    ("encoders.mgp.class", "Genres"),
    ("encoders.mgp.class", "Nothing"),
    ("encoders.mgp.init_args", ...),
    ("encoders.mgp.init_args", [1]),
    ("encoders.mgp.init_args.hidden", "wide"),
    ("encoders.mgp.init_args.hidden", [-1]),
    ("encoders.mgp.init_args.hidden", [7]),
    ("encoders.mgp.init_args.dropout", 3.5),
    ("encoders.mgp.init_args.other", 1),
    ("fusion", ...),
    ("fusion", "Concat"),
    ("fusion.class", None),
    ("target.class", ["TrackFactors"]),
    ("target.init_args", None),
    ("facts", ...),
    ("facts", []),
    ("facts.mgp", ...),
    ("facts.mgp", 5),
    ("facts.mgp.names", ...),
    ("facts.mgp.names", 5),
    ("facts.mgp.names", ["one"]),
    ("facts.mgp.mean", "x"),
    ("facts.mgp.mean", [0.0]),
    ("facts.mgp.std", {}),
    ("facts.factors", ...),
    ("facts.factors.factors", ...),
    ("facts.factors.factors", "four"),
    ("facts.factors.factors", 5),
    ("facts.factors.factors", None),
    ("fitted_on", ...),
    ("fitted_on", [1]),
    ("fitted_on.folds", "two"),
]
"""Fields of a recipe that are missing, of another kind, or contradict the weights."""

CONTENTS: list[tuple[str, Callable[[dict[str, Any]], object]]] = [
    (WEIGHT, weight(lambda w: w * torch.nan)),
    (WEIGHT, weight(lambda w: w + torch.inf)),
    (WEIGHT, weight(lambda w: w.to_sparse())),
    (WEIGHT, weight(lambda w: w.new_zeros(1).expand(100_000, 100_000))),
    (WEIGHT, weight(lambda w: w.tolist())),
    (WEIGHT, weight(lambda w: None)),
    ("don't fit", weight(lambda w: w[:-1])),
    ("don't fit", weight(lambda w: w.ravel())),
    ("don't fit", field("state_dict", {})),
    ("state_dict", field("state_dict")),
    ("state_dict", field("state_dict", [1, 2])),
    ("epoch", field("epoch")),
    ("epoch", field("epoch", "last")),
    ("epoch", field("epoch", -1)),
    ("global_step", field("global_step", 1.5)),
    ("version 1", field("coldstart")),
    ("version 1", field("coldstart", [1])),
    ("version 1", field("coldstart", "x")),
]


@pytest.mark.parametrize(("name", "change"), CONTENTS)
def test_what_a_checkpoint_lacks_is_named(
    checkpoint: Path, name: str, change: Callable[[dict[str, Any]], object]
) -> None:
    stored_anew(checkpoint, change)
    with pytest.raises(cs.InputError, match=r"best\.ckpt: ") as caught:
        cs.load(checkpoint)
    assert name in str(caught.value)


@pytest.mark.parametrize(("place", "value"), RECIPES)
def test_a_recipe_that_describes_no_model_is_named(
    checkpoint: Path, place: str, value: Any
) -> None:
    stored_anew(checkpoint, field(f"coldstart.{place}", value))
    with pytest.raises(cs.InputError) as caught:
        cs.load(checkpoint)
    assert str(caught.value).startswith(f"{checkpoint}: ")


@pytest.mark.parametrize("content", [[1], "x", 5, None, torch.zeros(3)])
def test_a_checkpoint_of_something_else_is_named(checkpoint: Path, content: Any) -> None:
    torch.save(content, checkpoint)
    with pytest.raises(cs.InputError, match=r"best\.ckpt: not a checkpoint of coldstart"):
        cs.load(checkpoint)


# Exported models


@pytest.fixture
def exported(checkpoint: Path, tmp_path: Path) -> Path:
    return cs.load(checkpoint).save_pretrained(tmp_path / "exported")


@pytest.mark.parametrize(("place", "value"), RECIPES)
def test_an_exported_recipe_that_describes_no_model_is_named(
    exported: Path, place: str, value: Any
) -> None:
    changed(exported / "config.json", place, value)
    with pytest.raises(cs.InputError) as caught:
        cs.ColdStart.from_pretrained(exported)
    assert str(caught.value).startswith(str(exported))


@pytest.mark.parametrize("what", HOLDS)
def test_garbage_in_the_place_of_a_recipe_is_named(exported: Path, what: str) -> None:
    (exported / "config.json").write_bytes(HOLDS[what])
    with pytest.raises(cs.InputError, match="exported"):
        cs.ColdStart.from_pretrained(exported)


@SEVERAL
@given(data=st.data())
def test_a_flipped_bit_in_exported_weights_is_noticed(exported: Path, data: st.DataObject) -> None:
    path = exported / "model.safetensors"
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    flipped(path, data.draw(st.integers(start, len(content) - 1)), data.draw(st.integers(0, 7)))
    refused(lambda: cs.ColdStart.from_pretrained(exported), str(path))
    path.write_bytes(content)
    cs.ColdStart.from_pretrained(exported)


def test_exported_weights_of_before_are_read_but_must_be_finite(tmp_path: Path) -> None:
    old = copy_of("exported", tmp_path)
    cs.ColdStart.from_pretrained(old)
    with_arrays(old / "model.safetensors", lambda a: a[WEIGHT].__setitem__(0, np.nan))
    refused(lambda: cs.ColdStart.from_pretrained(old), "model.safetensors", WEIGHT)


# Predictions


@pytest.fixture
def predictions(runs: Path) -> Path:
    folder = runs / "mgp" / "predictions"
    Predictions.load(folder)
    return folder


VECTORS: list[Callable[[dict[str, Any]], object]] = [
    lambda a: a["vectors"].__setitem__((0, 0), np.nan),
    lambda a: a["vectors"].__setitem__((3, 2), -np.inf),
    lambda a: a.update(vectors=a["vectors"][:-1]),
    lambda a: a.update(vectors=a["vectors"].ravel()),
    lambda a: a.update(vectors=a["vectors"].astype(np.float64)),
    lambda a: a.update(vectors=a["vectors"].astype(np.int32)),
    lambda a: a.clear(),
    lambda a: a.update(others=np.zeros(2)),
]

TRACKS: list[Callable[[pl.DataFrame], pl.DataFrame]] = [
    lambda t: t.drop("track_id"),
    lambda t: t[1:],
    lambda t: t.with_columns(track_id=pl.lit("t")),
    lambda t: t.with_columns(track_id=pl.lit(None, pl.String)),
    lambda t: t.with_columns(track_id=pl.int_range(pl.len())),
]


@pytest.mark.parametrize("change", VECTORS)
def test_damaged_vectors_are_named(
    predictions: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    with_arrays(predictions / "vectors.safetensors", change)
    refused(lambda: Predictions.load(predictions), str(predictions), "predict again")


@pytest.mark.parametrize("change", TRACKS)
def test_damaged_tracks_of_predictions_are_named(
    predictions: Path, change: Callable[[pl.DataFrame], pl.DataFrame]
) -> None:
    with_table(predictions / "tracks.parquet", change)
    refused(lambda: Predictions.load(predictions), str(predictions), "predict again")


@pytest.mark.parametrize("name", ["vectors.safetensors", "tracks.parquet"])
@pytest.mark.parametrize("damage", ["gone", "half", "garbage", "nothing", *OTHERS])
def test_damaged_files_of_predictions_are_named(predictions: Path, name: str, damage: str) -> None:
    path = predictions / name
    content = path.read_bytes()
    if damage in ("gone", *OTHERS):
        no_file(path, damage)
    else:
        garbage = {"half": content[: len(content) // 2], "garbage": b"?" * 99}
        path.write_bytes(garbage.get(damage, b""))
    refused(lambda: Predictions.load(predictions), str(path), "predict again")


@SEVERAL
@given(name=st.sampled_from(FILES), data=st.data())
def test_a_flipped_bit_in_predictions_is_noticed(
    predictions: Path, name: str, data: st.DataObject
) -> None:
    loaded = Predictions.load(predictions)
    loaded.save(predictions, [{"track_id": track, "title": "T"} for track in loaded.track_ids])
    path = predictions / name
    content = path.read_bytes()
    flipped(path, data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(0, 7)))
    refused(lambda: Predictions.load(predictions), str(path), "predict again")
    path.write_bytes(content)


def test_stored_vectors_of_another_width_are_refused(runs: Path, predictions: Path) -> None:
    with_arrays(
        predictions / "vectors.safetensors",
        lambda a: a.update(vectors=a["vectors"][:, :3]),
    )
    os.utime(predictions / "vectors.safetensors", (2e9, 2e9))  # newer than what it depends on
    run = open_run(runs / "mgp")  # moved together with its data
    refused(lambda: predictions_of(run), str(predictions), "3 numbers")


@pytest.mark.parametrize(
    "record",
    [*HOLDS.values(), b'{"new": [], "without": []}', b'{"new": {}, "without": [5]}', b"{}"],
)
def test_a_damaged_record_of_predictions_is_as_none(
    runs: Path, predictions: Path, record: bytes
) -> None:
    run = open_run(runs / "mgp")  # moved together with its data
    expected = predictions_of(run)
    (predictions / "made_from.json").write_bytes(record)
    assert predictions_of(run).track_ids == expected.track_ids


# The command line


def test_a_damaged_checkpoint_ends_with_a_sentence(
    runs: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored_anew(checkpoint, weight(lambda w: w * torch.nan))
    data = [f"--{name}={runs.parent / name}" for name in ("shards", "factors")]
    assert main(["recommend", f"--run={runs / 'mgp'}", "--user=u00", *data]) == 2
    shown = capsys.readouterr().err
    assert "Traceback" not in shown
    assert shown.splitlines()[-1].startswith(f"coldstart recommend: {checkpoint}: the weights")
