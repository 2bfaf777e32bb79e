"""The verb `listen`: estimates of all tracks by listeners that were not fitted on them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers import Listened, listen_flags, samples

from coldstart.cli import main
from coldstart.data.folds import fold_of
from coldstart.model.predictions import Predictions
from coldstart.shards.reading import Shards


def values(shards: Path, field: str = "mlg.npy") -> dict[str, bytes]:
    return {t: sample[field] for t, sample in samples(Shards(shards), field).items()}


def test_each_track_is_estimated_by_the_listener_that_was_not_fitted_on_it(
    listened: Listened,
) -> None:
    stored = values(listened.shards)
    assert set(stored) == {track["track_id"] for track in Shards(listened.shards).all_tracks()}
    nets = [
        dict(zip(*Predictions.load(listened.listener / f"fold{fold}" / "predictions"), strict=True))
        for fold in (0, 1)
    ]
    for track, content in stored.items():
        vector = np.frombuffer(content[-4 * len(nets[0][track]) :], np.float32)
        np.testing.assert_array_equal(vector, nets[fold_of(track, 2)][track].numpy())
    for fold in (0, 1):
        text = (listened.listener / f"fold{fold}" / "config.yaml").read_text(encoding="utf-8")
        config = yaml.safe_load(text)
        assert (config["data"]["folds"], config["data"]["fold"]) == (2, fold)
        assert "WriteModality" not in text


def test_the_facts_name_the_listeners(listened: Listened) -> None:
    facts = Shards(listened.shards).info("mlg")
    assert facts["runs"] == [str(listened.listener / f"fold{fold}") for fold in (0, 1)]
    assert (facts["at"], facts["what"]) == (str(listened.shards), "attributes")
    assert facts["names"] == Shards(listened.shards).info("mgp")["names"]
    assert len(facts["weights"]) == 2


def test_what_exists_is_kept(listened: Listened, capsys: pytest.CaptureFixture[str]) -> None:
    before = {p: p.stat().st_mtime_ns for p in listened.root.rglob("*") if p.is_file()}
    capsys.readouterr()
    assert main(["listen", *listen_flags(listened.shards, listened.listener)]) == 0
    shown = capsys.readouterr().out
    assert "mlg: exists already, from the same settings" in shown
    assert "next: coldstart fit --config audio_mlg.yaml" in shown
    after = {p: p.stat().st_mtime_ns for p in listened.root.rglob("*") if p.is_file()}
    assert {p for p in before if after[p] != before[p]} == set()


def test_a_killed_call_continues(
    listened: Listened, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One listener was finished, nothing was written."""
    shards, out = tmp_path / "shards", tmp_path / "listener"
    shutil.copytree(listened.shards, shards)
    about = json.loads((shards / "dataset.json").read_bytes())
    del about["modalities"]["mlg"]
    (shards / "dataset.json").write_text(json.dumps(about))
    shutil.copytree(listened.listener, out)
    (out / "fold1" / "fitted").unlink()
    (out / "fold0" / "predicted").unlink()
    weights = (out / "fold0" / "checkpoints" / "best.ckpt").stat().st_mtime_ns
    capsys.readouterr()
    assert main(["listen", *listen_flags(shards, out)]) == 0
    shown = capsys.readouterr()
    assert "net 1 of 2" not in shown.err
    assert "net 2 of 2" in shown.err
    assert "mlg: 60 tracks have estimates of 2 listeners" in shown.out
    assert (out / "fold0" / "checkpoints" / "best.ckpt").stat().st_mtime_ns == weights
    assert values(shards) == values(listened.shards)


def test_one_fold_is_named_as_in_sample(
    listened: Listened, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards = tmp_path / "shards"
    shutil.copytree(listened.shards, shards)
    capsys.readouterr()
    flags = listen_flags(shards, tmp_path / "one", folds=1)
    assert main(["listen", *flags, "--write=mlg_in_sample"]) == 0
    shown = capsys.readouterr().out
    assert "hears the very tracks that it was fitted on" in shown
    assert "next: coldstart fit --config mlg.yaml --model.encoders.mlg.modality mlg_in" in shown
    assert len(values(shards, "mlg_in_sample.npy")) == 60


BAD = {
    "no listener": (["--config=mgp.yaml"], "a listener predicts attributes"),
    "no folds": (["--folds=0"], "folds is at least 1"),
    "a fold of its own": (["--data.fold=1"], "is not for listen"),
    "the fit's flag": (["--data.shards=elsewhere"], "--data.shards: name it by --shards"),
    "another modality": (["--write=mgp_genres", "--model.encoders.audio.hiden=3"], "hiden"),
    "no name": (["--write=a-b"], "can't be the name of a modality"),
    "not of attributes": (["--write=genres"], "none of attributes"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_says_what_is_wrong(
    case: str, listened: Listened, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args, message = BAD[case]
    named = {arg.partition("=")[0] for arg in args}
    flags = [f"--shards={listened.shards}", f"--out={tmp_path}", "--config=listener.yaml"]
    flags = [flag for flag in flags if flag.partition("=")[0] not in named]
    capsys.readouterr()
    assert main(["listen", *flags, *args]) == 2
    assert message in capsys.readouterr().err


def test_a_fit_that_lacks_estimates_names_the_command(
    listened: Listened, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards = listened.world.shards
    data = [f"--data.shards={shards}", f"--data.factors={listened.world.factors}"]
    assert main(["fit", "--config=audio_mlg.yaml", f"--run={tmp_path / 'run'}", *data]) == 2
    error = capsys.readouterr().err
    assert f"`coldstart listen --config listener.yaml --folds 3 --shards {shards}`" in error
    assert main(["fit", "--config=mlg_waveform.yaml", f"--run={tmp_path / 'run'}", *data]) == 2
    error = capsys.readouterr().err
    assert "coldstart listen --config listener_waveform.yaml --folds 3" in error
    assert "--write mlg_waveform" in error
