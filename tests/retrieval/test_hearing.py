"""Sound files as queries: whatever a model reads that can be made from sound is made."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import Listened, samples

from coldstart.cli import main
from coldstart.encoders.base import Modality
from coldstart.errors import InputError
from coldstart.retrieval.hearing import hear
from coldstart.runs.derived import open_source_net, outputs_of
from coldstart.runs.predictions import predictions_of
from coldstart.runs.run import open_run
from coldstart.shards.reading import Shards

QUICK = ["--trainer.max_epochs=1", "--trainer.enable_progress_bar=false", "--data.workers=0"]


def flags_of(listened: Listened) -> list[str]:
    return [f"--data.shards={listened.shards}", f"--data.factors={listened.world.factors}", *QUICK]


def sound_of(listened: Listened, track: str) -> Path:
    return listened.world.catalogue / "audio" / f"{track}.flac"


@pytest.fixture(scope="module")
def mlg_run(listened: Listened) -> Path:
    run = listened.root / "runs" / "mlg"
    assert main(["fit", "--config=mlg.yaml", f"--run={run}", *flags_of(listened)]) == 0
    return run


@pytest.fixture(scope="module")
def stages_run(listened: Listened, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Estimates and genres, in two stages; the genres' nets hear nothing."""
    root = tmp_path_factory.mktemp("stages_run")
    shutil.copytree(listened.shards, root / "shards")
    encoders = "{mlg: {class_path: MachineListened}, genres: {class_path: Genres}}"
    (root / "two.yaml").write_text(f"model:\n  encoders: {encoders}\n", encoding="utf-8")
    run, data = root / "stages", [f"--data.shards={root / 'shards'}", *flags_of(listened)[1:]]
    args = ["fit", f"--config={root / 'two.yaml'}", f"--run={run}", "--stage-folds=2", *data]
    assert main(args) == 0
    return run


def test_estimates_are_made_by_the_listeners(
    listened: Listened, mlg_run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run, track = open_run(mlg_run), Shards(listened.shards).all_tracks(["test"])[0]["track_id"]
    vector = hear(run, sound_of(listened, track))
    stored = dict(zip(*predictions_of(run), strict=True))[track]
    # Of the file, the mean of both listeners; of the stored track, what one of them said.
    assert torch.cosine_similarity(vector, stored, dim=0) > 0.8
    assert "can't be made from" not in caplog.text
    estimate = _mean_estimate(listened, track)
    inputs = samples(Shards(listened.shards), "mlg.npy")[track]
    assert estimate.shape == np.load(io.BytesIO(inputs["mlg.npy"])).shape


def _mean_estimate(listened: Listened, track: str) -> np.ndarray:
    dataset = Shards(listened.shards)
    nets = [open_source_net(run, dataset) for run in dataset.info("mlg")["runs"]]
    each = [
        outputs_of(net.model, net.data.batches(["test"], only=[track]), "attributes")
        for net in nets
    ]
    vectors = [predictions.values[0] for predictions in each if predictions is not None]
    return torch.stack(vectors).mean(0).numpy()


def test_the_vector_is_that_of_the_mean_estimate(listened: Listened, mlg_run: Path) -> None:
    run, track = open_run(mlg_run), Shards(listened.shards).all_tracks(["test"])[0]["track_id"]
    values = torch.from_numpy(_mean_estimate(listened, track))[None]
    expected = run.model.predict({"mlg": Modality(values, torch.ones(1, dtype=torch.bool))})[0]
    torch.testing.assert_close(
        hear(run, sound_of(listened, track)), expected.detach(), atol=1e-4, rtol=1e-3
    )


def test_only_what_no_sound_tells_is_named(
    listened: Listened, stages_run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run, track = open_run(stages_run), Shards(listened.shards).all_tracks(["test"])[0]["track_id"]
    with caplog.at_level("INFO", "coldstart"):
        vector = hear(run, sound_of(listened, track))
    assert "was fitted with genres too, which can't be made" in caplog.text
    assert "mlg" not in caplog.text
    assert vector.isfinite().all()


def test_recommend_answers_a_file(
    listened: Listened, stages_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    track = Shards(listened.shards).all_tracks(["test"])[0]["track_id"]
    capsys.readouterr()
    args = ["recommend", f"--run={stages_run}", f"--audio={sound_of(listened, track)}", "--json"]
    assert main(args) == 0, capsys.readouterr().err
    assert json.loads(capsys.readouterr().out)


def test_estimates_of_unnamed_listeners_say_what_to_do(
    listened: Listened, mlg_run: Path, tmp_path: Path
) -> None:
    """Datasets that an earlier version wrote."""
    shards = tmp_path / "shards"
    shutil.copytree(listened.shards, shards)
    about = json.loads((shards / "dataset.json").read_bytes())
    facts = about["modalities"]["mlg"]
    for key in ("runs", "weights", "at", "what"):
        del facts[key]
    facts["parts"] = [0, 1]
    (shards / "dataset.json").write_text(json.dumps(about), encoding="utf-8")
    run = tmp_path / "mlg"
    shutil.copytree(mlg_run, run)
    config = (run / "config.yaml").read_text(encoding="utf-8")
    config = config.replace(str(listened.shards), str(shards))
    (run / "config.yaml").write_text(config, encoding="utf-8")
    track = Shards(shards).all_tracks(["test"])[0]["track_id"]
    with pytest.raises(InputError, match="coldstart predict --run LISTENER") as error:
        hear(open_run(run), sound_of(listened, track))
    assert "hears nothing" in str(error.value)
