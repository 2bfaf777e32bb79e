"""What `predict` writes: vectors for tables, and modalities for shards."""

import json
import shutil
from pathlib import Path

from helpers import SMALL_AUDIO, Fitted, World

from coldstart.cli import main
from coldstart.data.folds import fold_of
from coldstart.model.checkpoint import weights_id
from coldstart.shards.reading import Shards
from coldstart.training.lightning_module import load

SMALL_FLAGS = [f"--{key}={value}" for key, value in SMALL_AUDIO.items()]
QUICK = ["--trainer.max_epochs=2", "--trainer.enable_progress_bar=false", "--data.workers=0"]


def test_predict_writes_a_vector_for_every_track(audio: Fitted) -> None:
    assert main(["predict", "--run", str(audio.run)]) == 0
    from coldstart.model.predictions import Predictions

    made = Predictions.load(audio.run / "predictions")
    everyone = {track["track_id"] for track in Shards(audio.world.shards).all_tracks()}
    assert set(made.track_ids) == everyone
    assert made.values.isfinite().all()


def test_listeners_write_mlg_each_for_the_fold_it_has_not_heard(
    tiny_world: World, tmp_path: Path
) -> None:
    shards = tmp_path / "shards"
    shutil.copytree(tiny_world.shards, shards)
    before = {p: p.read_bytes() for p in shards.rglob("audio/*.tar")}
    for fold in (0, 1):
        run = str(tmp_path / f"listener{fold}")
        folds = [f"--data.shards={shards}", "--data.folds=2", f"--data.fold={fold}"]
        args = ["fit", "--config", "listener.yaml", "--run", run, *folds, *SMALL_FLAGS, *QUICK]
        assert main(args) == 0
        assert load(Path(run) / "checkpoints" / "best.ckpt").fitted_on == {"folds": 2, "fold": fold}
        assert main(["predict", "--run", run]) == 0
        written = {
            sample["track_id"]
            for split in ("train", "val", "test")
            for i in range(len(Shards(shards).shard_sizes(split)))
            for sample in Shards(shards).samples(split, i, ["mlg.npy"])
            if "mlg.npy" in sample
        }
        assert {fold_of(track, 2) for track in written} == set(range(fold + 1))
        if fold == 0:
            refused = ["fit", "--config", "mlg.yaml", "--run", str(tmp_path / "mlg")]
            flags = [f"--data.shards={shards}", f"--data.factors={tiny_world.factors}"]
            assert main([*refused, *flags, *QUICK]) == 2
    assert written == {track["track_id"] for track in Shards(shards).all_tracks()}
    facts = Shards(shards).info("mlg")
    assert facts["runs"] == [str(tmp_path / f"listener{fold}") for fold in (0, 1)]
    assert (facts["at"], facts["what"]) == (str(shards), "attributes")
    assert {p: p.read_bytes() for p in shards.rglob("audio/*.tar")} == before
    assert main(["test", "--run", str(tmp_path / "listener0")]) == 0
    heard = json.loads((tmp_path / "listener0" / "results.json").read_text())
    assert -1 <= heard["mean_correlation"] <= 1
    args = ["fit", "--config", "audio_mlg_genres.yaml", "--run", str(tmp_path / "all"), *flags]
    args += ["--stages=1"]
    assert main([*args, *SMALL_FLAGS, *QUICK]) == 0


def test_a_listener_without_folds_skips_what_it_was_fitted_on(
    tiny_world: World, tmp_path: Path
) -> None:
    shards, run = tmp_path / "shards", str(tmp_path / "listener")
    shutil.copytree(tiny_world.shards, shards)
    folds = [f"--data.shards={shards}", "--data.folds=null", "--data.fold=null"]
    args = ["fit", "--config", "listener.yaml", "--run", run, *folds, *SMALL_FLAGS, *QUICK]
    assert main(args) == 0
    assert main(["predict", "--run", run]) == 0
    counts = Shards(shards).modalities["mlg"]["shards"]
    assert sum(counts["train"]) == sum(counts["val"]) == 0
    assert sum(counts["test"]) == 6


def test_vectors_in_the_shards_say_which_run_wrote_them(mgp_genres: Fitted, tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    shutil.copytree(mgp_genres.world.shards, shards)
    args = [f"--run={mgp_genres.run}", f"--data.shards={shards}", "--write=fused"]
    root = f"--trainer.default_root_dir={tmp_path / 'elsewhere'}"
    assert main(["predict", *args, root]) == 0
    facts = Shards(shards).info("fused")
    assert (facts["runs"], facts["at"]) == ([str(mgp_genres.run)], str(shards))
    assert facts["weights"] == [weights_id(load(mgp_genres.run))]
