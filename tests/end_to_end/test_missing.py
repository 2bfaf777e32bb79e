"""Tracks that lack modalities: while training, at a test, and altogether."""

import json
from pathlib import Path

import pytest
import torch
from helpers import World, data_for
from hypothesis import given
from hypothesis import strategies as st

from coldstart.cli import main
from coldstart.data.folds import Lacks
from coldstart.encoders.attributes import MGP
from coldstart.encoders.base import Modality
from coldstart.encoders.genres import Genres
from coldstart.errors import InputError
from coldstart.model.net import with_modality_dropout
from coldstart.training.lightning_module import load

QUICK = ["--trainer.max_epochs=3", "--trainer.enable_progress_bar=false", "--stages=1"]


@pytest.fixture(scope="module")
def run(tiny_world: World) -> Path:
    folder = tiny_world.root / "runs" / "missing"
    data = [f"--data.shards={tiny_world.shards}", f"--data.factors={tiny_world.factors}"]
    args = ["fit", "--config=mgp_genres.yaml", f"--run={folder}", *data, *QUICK]
    assert main([*args, "--model.modality_dropout=0.3"]) == 0
    return folder


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans())), st.floats(0, 0.99))
def test_modality_dropout_takes_only_what_is_there_and_never_all(
    there: list[tuple[bool, bool, bool]], share: float
) -> None:
    masks = torch.tensor(there, dtype=torch.bool).reshape(-1, 3)
    inputs = {
        name: Modality(torch.ones(len(masks), 2), masks[:, i]) for i, name in enumerate("abc")
    }
    kept = with_modality_dropout(inputs, share)
    after = torch.stack([kept[name].present for name in "abc"], dim=1)
    assert not (after & ~masks).any()
    assert torch.equal(after.any(1), masks.any(1))
    if share == 0:
        assert torch.equal(after, masks)


def test_modality_dropout_takes_the_share_it_is_told() -> None:
    torch.manual_seed(0)
    everyone = torch.ones(4000, dtype=torch.bool)
    inputs = {name: Modality(torch.ones(4000, 1), everyone) for name in "abcdef"}
    left = torch.stack([m.present for m in with_modality_dropout(inputs, 0.4).values()])
    assert left.float().mean().item() == pytest.approx(0.6, abs=0.02)


def test_a_share_of_the_tracks_lacks_each_modality_by_itself() -> None:
    lacks = Lacks(frozenset(), 0.25)
    tracks = [f"t{i}" for i in range(4000)]
    a, b = ([lacks(track, name) for track in tracks] for name in ("mgp", "genres"))
    assert sum(a) / 4000 == pytest.approx(0.25, abs=0.02)
    both = sum(x and y for x, y in zip(a, b, strict=True))
    assert both / 4000 == pytest.approx(0.25**2, abs=0.015)
    assert not any(Lacks(frozenset(), 0.0)(track, "mgp") for track in tracks)


def test_what_is_taken_away_is_missing_in_batches_and_for_rivals(tiny_world: World) -> None:
    encoders = {"mgp": MGP(hidden=(4,)), "genres": Genres(hidden=(4,))}
    data = data_for(tiny_world, encoders, missing=0.5, drop=["genres"])
    lacks = Lacks(frozenset(), 0.5)
    for batch in data.batches(["train", "test"]):
        assert not batch.inputs["genres"].present.any()
        expected = [not lacks(track, "mgp") for track in batch.track_ids]
        assert batch.inputs["mgp"].present.tolist() == expected
        assert not batch.inputs["mgp"].values[~batch.inputs["mgp"].present].any()
    with pytest.raises(InputError, match=r"data\.drop: 'lyrics' is none of mgp, genres"):
        data_for(tiny_world, encoders, drop=["lyrics"]).batches(["test"])


def figures(run: Path, name: str) -> dict[str, float]:
    row: dict[str, float] = json.loads((run / f"{name}.json").read_text())["rows"][0]
    return row


def test_drop_each_says_what_is_lost_without_each(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["test", f"--run={run}", "--drop-each"]) == 0
    printed = capsys.readouterr().out
    rows = json.loads((run / "results_drop_each.json").read_text())
    assert [row["without"] for row in rows] == ["", "mgp", "genres"]
    for row in rows[1:]:
        alone = figures(run, f"results_without_{row['without']}")
        assert row["cosine"] == alone["cosine"]
        assert row["cosine"] != rows[0]["cosine"]
        assert f"{alone['ndcg']:.3f}" in printed
    assert main(["test", f"--run={run}", "--drop=lyrics"]) == 2
    assert "is none of mgp, genres" in capsys.readouterr().err


def test_a_track_with_no_modality_gets_no_opinion(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["test", f"--run={run}", "--drop=mgp,genres", "--no-rivals"]) == 0
    assert "(6 have none of the model's inputs)" in capsys.readouterr().out
    blind = json.loads((run / "results_without_mgp,genres.json").read_text())
    assert blind["drop"] == ["genres", "mgp"]
    assert blind["tracks_nothing_known"] == 6
    assert blind["rows"][0]["cosine"] == pytest.approx(1)


def test_modality_dropout_is_no_part_of_the_architecture(run: Path) -> None:
    assert load(run / "checkpoints" / "best.ckpt").modality_dropout == 0.0
    assert main(["test", f"--run={run}", "--no-rivals", "--model.modality_dropout=0"]) == 0


@pytest.mark.parametrize(
    "flag", ["--model.modality_dropout=1", "--data.missing=1", "--data.missing=-0.1"]
)
def test_shares_out_of_range_are_refused(
    flag: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["test", f"--run={run}", flag]) == 2
    assert "from 0 to below 1" in capsys.readouterr().err
