"""A head that is solved: fitted, tested, asked and resumed like any other."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
import yaml
from helpers import World

import coldstart as cs
from coldstart.cli import main
from coldstart.commands.factorize import factorize
from coldstart.commands.recommend import recommend
from coldstart.commands.shard import shard
from coldstart.data.datamodule import ColdStartData
from coldstart.encoders.attributes import MGP
from coldstart.encoders.genres import Genres
from coldstart.errors import InputError
from coldstart.factors.factors import Factors
from coldstart.factors.model_space import in_model_space
from coldstart.fusion.kernel import Kernel
from coldstart.model.predictions import by_track
from coldstart.runs.predictions import predictions_of
from coldstart.runs.run import open_run
from coldstart.targets.track_factors import TrackFactors
from coldstart.training.lightning_module import ColdStart, load

RECIPE = {"factors": 8, "shrinkage": 0.15, "axes": "scores"}


@pytest.fixture(scope="module")
def factors(tiny_world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("recipe") / "factors"
    listens = tiny_world.catalogue / "listens.parquet"
    factorize(listens, out=out, splits=tiny_world.splits, **RECIPE)  # type: ignore[arg-type]
    return out


@pytest.fixture(scope="module")
def shards(tiny_world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("content") / "shards"
    mgp = {"mgp": str(tiny_world.catalogue / "mgp.parquet")}
    tracks = tiny_world.catalogue / "tracks.parquet"
    shard(tracks, out=out, splits=tiny_world.splits, attributes=mgp, modalities=["genres"])
    return out


@pytest.fixture(scope="module")
def fitted(factors: Path, shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("best") / "run"
    where = [f"--data.shards={shards}", f"--data.factors={factors}", f"--run={run}"]
    assert main(["fit", "--config", "kernel.yaml", *where]) == 0
    return run


def test_shrinkage_and_axes_are_said_and_scores_stay(
    tiny_world: World, factors: Path, tmp_path: Path
) -> None:
    made = Factors.load(factors)
    assert made.about["shrinkage"] == 0.15
    assert made.about["regularization"] > 0.05
    listens = tiny_world.catalogue / "listens.parquet"
    plain = factorize(
        listens, out=tmp_path / "f", splits=tiny_world.splits, factors=8, shrinkage=0.15
    )
    np.testing.assert_allclose(
        made.users @ made.tracks.T, plain.users @ plain.tracks.T, rtol=1e-3, atol=1e-3
    )
    with pytest.raises(InputError, match="shrinkage is for `implicit`"):
        factorize(listens, out=tmp_path / "g", algorithm="explicit", shrinkage=0.1)


def test_a_fit_ranks_validation_tracks_and_is_rebuilt_from_its_checkpoint(fitted: Path) -> None:
    epochs = json.loads((fitted / "fit.json").read_text())["validations"]
    assert len(epochs) == 1
    assert 0 < epochs[0]["val_ndcg"] <= 1
    run = open_run(fitted)
    assert isinstance(run.model.fusion, Kernel)
    assert len(run.model.fusion.get_buffer("centres")) > 10
    made = by_track(run.data.batches(["val"]), lambda batch: run.model.predict(batch.inputs))
    saved = predictions_of(run)
    at = [saved.track_ids.index(track) for track in made.track_ids]
    torch.testing.assert_close(saved.values[at], made.values)


def test_a_test_and_mixed_candidates_go_by_dot_product(
    fitted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["test", "--run", str(fitted)]) == 0
    mixed = ["test", "--run", str(fitted), "--candidates", "mixed"]
    assert main([*mixed, "--lengths", "own"]) == 0
    results = json.loads((fitted / "results_mixed.json").read_text())
    assert results["lengths"] == "own"
    rows = {row["method"]: row for row in json.loads((fitted / "results.json").read_text())["rows"]}
    assert rows["coldstart"]["ndcg"] > rows["random"]["ndcg"]


def test_a_user_is_served_by_dot_product_and_the_reasons_add_up_to_it(
    fitted: Path, factors: Path
) -> None:
    made = in_model_space(Factors.load(factors), open_run(fitted).model.listening)
    user = made.user_ids[int(np.diff(made.listens.indptr).argmax())]
    found = recommend(run=fitted, user=user, k=5, why=True, placement="either")
    run = open_run(fitted)
    predicted = predictions_of(run)
    for one in found:
        vector = predicted.values[predicted.track_ids.index(one.track_id)].numpy()
        score = float(made.users[made.user_ids.index(user)] @ vector)
        assert one.similarity == pytest.approx(score, abs=2e-4)
        assert one.why is not None
        assert one.why.score == pytest.approx(score, abs=1e-3)
    assert [one.similarity for one in found] == sorted((o.similarity for o in found), reverse=True)
    joined = recommend(run=fitted, user=user, k=5, why=True)
    assert all(o.why and o.why.score == pytest.approx(o.similarity, abs=1e-3) for o in joined)
    near = recommend(run=fitted, like=predicted.track_ids[0], k=2)
    assert all(abs(one.similarity) <= 1 for one in near)


def test_a_fit_that_goes_on_ends_at_the_same(fitted: Path, tmp_path: Path) -> None:
    before = load(fitted).state_dict()
    assert main(["fit", "--run", str(fitted), "--ckpt_path", "last"]) == 0
    after = load(fitted).state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_encoders_with_layers_are_refused(factors: Path, shards: Path, tmp_path: Path) -> None:
    from lightning.pytorch import Trainer

    model = ColdStart(
        {"mgp": MGP(hidden=(4,)), "genres": Genres(hidden=())}, Kernel(), TrackFactors(length=True)
    )
    data = ColdStartData(str(shards), str(factors))
    trainer = Trainer(
        max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    with pytest.raises(InputError, match=r"model.encoders.mgp has \d+ parameters"):
        trainer.fit(model, datamodule=data)


def test_texts_of_many_words_are_fitted_explained_and_exported_sparse(
    tiny_world: World, factors: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """More words than are kept dense, of which each track has few."""
    table = pl.read_parquet(tiny_world.catalogue / "tracks.parquet").select("track_id")
    generator = np.random.default_rng(0)
    words = [generator.integers(0, 4000, 30) for _ in range(len(table))]
    texts = table.with_columns(text=pl.Series([" ".join(f"w{w}" for w in row) for row in words]))
    texts.write_parquet(tmp_path / "texts.parquet")
    tracks, shards, run = tiny_world.catalogue / "tracks.parquet", tmp_path / "s", tmp_path / "run"
    mgp = {"mgp": str(tiny_world.catalogue / "mgp.parquet")}
    lyrics = {"lyrics": str(tmp_path / "texts.parquet")}
    shard(tracks, out=shards, splits=tiny_world.splits, attributes=mgp, texts=lyrics, modalities=[])
    text = {"modality": "lyrics", "min_tracks": 1}
    model = {
        "encoders": {
            "lyrics": {"class_path": "Text", "init_args": text},
            "mgp": {"class_path": "MGP", "init_args": {"hidden": []}},
        },
        "fusion": {"class_path": "Kernel"},
        "target": {"class_path": "TrackFactors", "init_args": {"length": True}},
    }
    config = tmp_path / "texts.yaml"
    config.write_text(yaml.safe_dump({"model": model, "trainer": {"max_epochs": 1}}))
    where = [f"--data.shards={shards}", f"--data.factors={factors}", f"--run={run}"]
    assert main(["fit", "--config", str(config), *where]) == 0
    fitted = open_run(run)
    head = fitted.model.fusion
    assert isinstance(head, Kernel)
    assert list(head.sparse) == ["lyrics"]
    batch = next(iter(fitted.data.batches(["val"])))
    predicted = fitted.model.predict(batch.inputs)
    load(run).save_pretrained(tmp_path / "model")
    again = cs.ColdStart.from_pretrained(tmp_path / "model")
    assert torch.equal(again.predict(batch.inputs), predicted)
    capsys.readouterr()
    like = batch.track_ids[0]
    assert main(["recommend", "--run", str(run), f"--like={like}", "--why", "--json"]) == 0
    assert "lyrics" in capsys.readouterr().out
    assert main(["predict", "--run", str(run)]) == 0
    saved = predictions_of(open_run(run))
    at = [saved.track_ids.index(track) for track in batch.track_ids]
    torch.testing.assert_close(saved.values[at], predicted)
