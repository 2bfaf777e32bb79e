"""Fits through the command line on a tiny world: their folder, their settings, what is refused."""

import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from helpers import Fitted, World, data_flags

import coldstart
from coldstart.cli import main
from coldstart.factors.factors import Factors
from coldstart.training.ranks import is_first

QUICK = ["--trainer.max_epochs=2", "--trainer.enable_progress_bar=false", "--data.workers=0"]


def test_a_run_is_a_folder_with_its_config_and_checkpoints(mgp_genres: Fitted) -> None:
    config = yaml.safe_load((mgp_genres.run / "config.yaml").read_text())
    assert config["data"]["batch_size"] == 256
    assert Path(config["data"]["shards"]).is_absolute()
    assert {p.name for p in (mgp_genres.run / "checkpoints").iterdir()} == {
        "best.ckpt",
        "last.ckpt",
    }
    assert (mgp_genres.run / "logs").is_dir()


def test_checkpoints_hold_nothing_but_tensors_and_plain_values(mgp_genres: Fitted) -> None:
    for name in ("best.ckpt", "last.ckpt"):
        assert torch.load(mgp_genres.run / "checkpoints" / name, weights_only=True)


BAD_FITS = {
    "a typo in an encoder's name": (
        ["--config", "{typo}"],
        ["MPG", "Audio, Embedding, Genres, MGP, MachineListened, Spectrogram, Text, Waveform"],
    ),
    "an option that an encoder doesn't have": (
        ["--config", "mgp.yaml", "--model.encoders.mgp.hiden", "[3]"],
        ["hiden"],
    ),
    "a config that is nowhere": (
        ["--config", "mpg.yaml"],
        ["mpg.yaml", "mgp.yaml", "listener.yaml"],
    ),
    "a modality that the dataset lacks": (
        ["--config", "mlg.yaml", "{shards}", "{factors}"],
        ["no modality 'mlg'", "audio, genres, mgp", "coldstart listen --config listener.yaml"],
    ),
    "a modality that only the second net would read": (
        ["--config", "audio_mlg.yaml", "{shards}", "{factors}"],
        ["no modality 'mlg'", "coldstart listen --config listener.yaml"],
    ),
    "content that the dataset lacks, beside content that it has": (
        [
            *["--config", "mgp_genres.yaml", "{shards}", "{factors}"],
            *["--model.encoders.e.class_path=Embedding", "--model.encoders.e.modality=clap"],
        ],
        ["no modality 'clap'", "`coldstart shard` adds one", "default.yaml reads whatever"],
    ),
    "a fit that would never validate": (
        [
            "--config",
            "mgp.yaml",
            "{shards}",
            "{factors}",
            *QUICK,
            "--trainer.check_val_every_n_epoch=3",
        ],
        ["max_epochs 2 would never validate", "check_val_every_n_epoch is 3"],
    ),
    "no dataset": (
        ["--config", "mgp.yaml", "--data.shards", "nowhere"],
        ["dataset.json is missing"],
    ),
    "no factors": (
        ["--config", "mgp.yaml", "{shards}", "--data.factors", "nowhere"],
        ["factors.json is missing"],
    ),
}


@pytest.mark.parametrize("case", BAD_FITS)
def test_a_bad_fit_says_what_is_wrong(
    case: str, tiny_world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typo = tmp_path / "typo.yaml"
    typo.write_text("model: {encoders: {mgp: {class_path: MPG}}}")
    names = {
        "{typo}": str(typo),
        "{shards}": f"--data.shards={tiny_world.shards}",
        "{factors}": f"--data.factors={tiny_world.factors}",
    }
    args, expected = BAD_FITS[case]
    given = [names.get(arg, arg) for arg in args]
    assert main(["fit", *given, "--run", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert all(part in error for part in expected), error
    assert "Traceback" not in error


def test_a_run_is_not_overwritten_unless_asked(
    mgp_genres: Fitted, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["fit", "--config", "mgp_genres.yaml", "--run", str(mgp_genres.run)]
    assert main([*args, *data_flags(mgp_genres.world), *QUICK]) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_a_test_with_another_architecture_is_refused(
    mgp_genres: Fitted, capsys: pytest.CaptureFixture[str]
) -> None:
    other = ["--model.encoders.mgp.hidden", "[3]"]
    assert main(["test", "--run", str(mgp_genres.run), *other]) == 2
    assert "another architecture" in capsys.readouterr().err


def test_a_file_that_is_no_checkpoint_is_refused(
    mgp_genres: Fitted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.ckpt").write_bytes(b"nonsense")
    args = ["test", "--run", str(mgp_genres.run), "--ckpt_path"]
    assert main([*args, str(tmp_path / "x.ckpt")]) == 2
    assert "not a checkpoint" in capsys.readouterr().err
    assert main([*args, str(tmp_path / "nowhere.ckpt")]) == 2
    assert "no such checkpoint" in capsys.readouterr().err


def test_a_folder_that_is_no_run_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["test", "--run", str(tmp_path)]) == 2
    assert "not a run" in capsys.readouterr().err


def test_training_goes_on_from_a_checkpoint(mgp_genres: Fitted, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(mgp_genres.run, run)
    args = ["fit", "--config", str(run / "config.yaml"), "--run", str(run), *QUICK[1:]]
    checkpoint = run / "checkpoints" / "last.ckpt"
    assert main([*args, "--trainer.max_epochs=4", "--ckpt_path", str(checkpoint)]) == 0
    assert torch.load(checkpoint, weights_only=True)["epoch"] == 3


def test_python_s_verbs_do_what_the_command_line_does(tiny_world: World, tmp_path: Path) -> None:
    overrides = dict(flag.lstrip("-").split("=") for flag in [*data_flags(tiny_world), *QUICK])
    run = coldstart.fit("mgp.yaml", run=str(tmp_path / "run"), overrides=overrides)
    results = coldstart.test(run)
    assert results["input"] == "mgp"
    made = Factors.load(tiny_world.factors)
    assert len(coldstart.recommend(run=run, like=made.track_ids[0], k=3)) == 3


def test_wandb_works_offline_and_keeps_to_the_run_s_folder(
    tiny_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_DATA_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    logger = ["--trainer.logger=WandbLogger", "--trainer.logger.offline=true"]
    args = ["fit", "--config", "mgp.yaml", "--run", str(tmp_path / "run"), *data_flags(tiny_world)]
    assert main([*args, *QUICK, *logger]) == 0
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb"))
    assert {path.name for path in tmp_path.iterdir()} == {"run"}


def test_factors_of_another_factorisation_are_refused(
    mgp_genres: Fitted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also of the same width: directions mean nothing in another space."""
    world = mgp_genres.world
    for width in (8, 5):
        other = tmp_path / f"factors{width}"
        listens = world.catalogue / "listens.parquet"
        coldstart.factorize(listens, out=other, splits=world.splits, factors=width, seed=7)
        user = Factors.load(other).user_ids[0]
        test = ["test", "--run", str(mgp_genres.run), "--data.factors", str(other)]
        recommend = ["recommend", "--run", str(mgp_genres.run), "--factors", str(other)]
        for args in (test, [*recommend, "--user", user]):
            assert main(args) == 2
            error = capsys.readouterr().err
            assert "not those that the model was trained on" in error
            assert "Traceback" not in error


def test_a_resumed_run_s_config_starts_anew_and_its_log_is_kept(
    mgp_genres: Fitted, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(mgp_genres.run, run)
    log = (run / "logs" / "fit" / "metrics.csv").read_bytes()
    go_on = ["fit", "--run", str(run), "--ckpt_path", "last", "--trainer.max_epochs=4"]
    assert main(go_on) == 0
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] == 3
    assert (run / "logs" / "fit" / "metrics.csv").read_bytes() == log
    assert (run / "logs" / "fit-2" / "metrics.csv").is_file()
    anew = ["fit", "--config", str(run / "config.yaml"), "--run", str(tmp_path / "anew")]
    assert main([*anew, "--trainer.max_epochs=1"]) == 0
    last = tmp_path / "anew" / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["epoch"] == 0


def test_python_refuses_misspelt_choices(tiny_world: World, tmp_path: Path) -> None:
    tracks, listens = (tiny_world.catalogue / f"{n}.parquet" for n in ("tracks", "listens"))
    with pytest.raises(coldstart.InputError, match="'artst' is none of random, artist"):
        coldstart.split(tracks, out=tmp_path / "s.csv", method="artst")  # type: ignore[arg-type]
    for wrong in ({"algorithm": "explict"}, {"weighting": "lin"}):
        with pytest.raises(coldstart.InputError, match="is none of"):
            coldstart.factorize(listens, out=tmp_path / "f", **wrong)  # type: ignore[arg-type]


def test_every_verb_is_a_function_of_the_package() -> None:
    from coldstart.cli import VERBS

    for verb, entry in VERBS.items():
        function = verb.replace("-", "_")
        module = importlib.import_module(f"coldstart.{entry.module}")
        assert callable(getattr(module, entry.function))
        # Lightning's verbs take all arguments; another has verbs of its own.
        assert entry.function in (function, "main") or entry.several
        assert callable(getattr(coldstart, function))
        assert function in dir(coldstart)


HOLDER = """
import sys, time
from coldstart.files import reserved
with reserved(sys.argv[1], "taken"):
    print("reserved", flush=True)
    time.sleep(600)
"""


def test_a_second_fit_into_one_folder_is_refused_until_the_first_has_ended(
    tiny_world: World,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = tmp_path / "run"
    args = ["fit", "--config=mgp.yaml", f"--run={run}", *data_flags(tiny_world), *QUICK]
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(run)], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "reserved\n"
        for more in ([], ["--overwrite"], ["--ckpt_path=last"]):
            assert main([*args, *more]) == 2
            assert f"{run}: another fit is at work here" in capsys.readouterr().err
        other.kill()  # which leaves the lock's file behind
    assert (run / ".lock").is_file()
    assert main(args) == 0
    assert main([*args, "--overwrite"]) == 0
    capsys.readouterr()
    assert main(args) == 2
    assert "holds a run already" in capsys.readouterr().err


def test_only_the_first_rank_reserves_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_first()
    monkeypatch.setenv("NODE_RANK", "1")
    assert not is_first()
    monkeypatch.setenv("NODE_RANK", "0")
    monkeypatch.setattr("lightning.pytorch.utilities.rank_zero.rank_zero_only.rank", 1)
    assert not is_first()


def test_a_fit_that_was_refused_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["fit", "--config=mgp.yaml", "--data.shards=nowhere"]) == 2
    assert list(tmp_path.iterdir()) == []
