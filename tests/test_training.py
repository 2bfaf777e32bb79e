"""fit, validate, test, predict and recommend, through the command line, on a tiny world."""

import importlib
import json
import re
import shutil
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest
import torch
import yaml
from conftest import SMALL_AUDIO, World

import coldstart
from coldstart.cli import main
from coldstart.data.folds import fold_of
from coldstart.evaluation.evaluate import OURS, PATCHES
from coldstart.factors.factors import Factors
from coldstart.runs.config import configs_folder
from coldstart.shards.reading import Shards
from coldstart.training.lightning_module import load

SHIPPED = {p.name: yaml.safe_load(p.read_text()) for p in configs_folder().glob("*.yaml")}
CONFIGS = sorted(name for name, config in SHIPPED.items() if "model" in config)
ABLATIONS = sorted(name for name, config in SHIPPED.items() if "parts" in config)
SPACES = sorted(name for name in SHIPPED if name.startswith("space_"))
SMALL_FLAGS = [f"--{key}={value}" for key, value in SMALL_AUDIO.items()]
QUICK = ["--trainer.max_epochs=2", "--trainer.enable_progress_bar=false", "--data.workers=0"]


class Fitted(NamedTuple):
    """A run and the world it was fitted in."""

    run: Path
    world: World


def data_flags(world: World) -> list[str]:
    return [f"--data.shards={world.shards}", f"--data.factors={world.factors}"]


@pytest.fixture(scope="module")
def mgp_genres(tiny_world: World) -> Fitted:
    run = tiny_world.root / "runs" / "mgp_genres"
    args = ["fit", "--config", "mgp_genres.yaml", "--run", str(run), *data_flags(tiny_world)]
    assert main([*args, *QUICK, "--stages=1"]) == 0
    return Fitted(run, tiny_world)


@pytest.fixture
def audio(tiny_audio_run: Path, tiny_world: World) -> Fitted:
    return Fitted(tiny_audio_run, tiny_world)


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


def test_a_test_writes_figures_with_floors_and_rivals(
    mgp_genres: Fitted, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["test", "--run", str(mgp_genres.run)]) == 0
    printed = capsys.readouterr().out
    results = json.loads((mgp_genres.run / "results.json").read_text())
    methods = [row["method"].split(" (")[0] for row in results["rows"]]
    assert methods[0] == "coldstart"
    assert len(methods) == 8
    assert results["candidates"] == 6
    assert results["protocol"] == "strict cold start"
    assert {"users", "users_without_relevant", "k", "map_k", "seed"} <= results.keys()
    for wanted in ("ridge", "random", "6 cold candidates", "next: coldstart recommend"):
        assert wanted in printed
    assert (mgp_genres.run / "results.csv").is_file()


def test_rivals_can_be_left_out(mgp_genres: Fitted) -> None:
    assert main(["test", "--run", str(mgp_genres.run), "--no-rivals"]) == 0
    rows = json.loads((mgp_genres.run / "results.json").read_text())["rows"]
    assert not any(row["method"].startswith("ridge") for row in rows)


def test_audio_is_measured_by_patch_and_by_track(audio: Fitted) -> None:
    assert main(["test", "--run", str(audio.run)]) == 0
    track, patch, *_ = json.loads((audio.run / "results.json").read_text())["rows"]
    assert (track["method"], patch["method"]) == (OURS, PATCHES)
    assert 0 < track["cosine distance"] < 2
    assert patch["cosine distance"] != track["cosine distance"]


def test_windows_may_be_cut_otherwise_than_in_training(audio: Fitted) -> None:
    assert main(["test", "--run", str(audio.run), "--no-rivals"]) == 0
    denser = [f"--model.encoders.audio.{key}" for key in ("hop=0.5", "trim=0.2")]
    args = ["test", "--run", str(audio.run), "--no-rivals", "--results=results_dense", *denser]
    assert main(args) == 0
    one, other = (
        json.loads((audio.run / f"{name}.json").read_text())["rows"][0]["cosine distance"]
        for name in ("results", "results_dense")
    )
    assert one != other
    wider = ["test", "--run", str(audio.run), "--model.encoders.audio.dim=32"]
    assert main(wider) == 2


def test_validate_says_what_the_checkpoint_was_chosen_by(
    mgp_genres: Fitted, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["validate", "--run", str(mgp_genres.run)]) == 0
    best = torch.load(mgp_genres.run / "checkpoints" / "best.ckpt", weights_only=True)
    (state,) = [s for key, s in best["callbacks"].items() if "RunCheckpoint" in key]
    shown = capsys.readouterr().out
    (printed,) = re.findall(r"val_loss\D+(\d\.\d+)", shown)
    assert float(printed) == pytest.approx(float(state["best_model_score"]), abs=1e-5)


def test_predict_writes_a_vector_for_every_track(audio: Fitted) -> None:
    assert main(["predict", "--run", str(audio.run)]) == 0
    from coldstart.model.predictions import Predictions

    made = Predictions.load(audio.run / "predictions")
    everyone = {track["track_id"] for track in Shards(audio.world.shards).all_tracks()}
    assert set(made.track_ids) == everyone
    assert made.values.isfinite().all()


def recommended(capsys: pytest.CaptureFixture[str], *args: str) -> list[dict[str, object]]:
    capsys.readouterr()
    assert main(["recommend", *args, "--json"]) == 0
    rows: list[dict[str, object]] = json.loads(capsys.readouterr().out)
    return rows


def test_recommend_like_a_track_names_cold_tracks_best_first(
    mgp_genres: Fitted, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Factors.load(mgp_genres.world.factors)
    warm = {t for t, folded in zip(made.track_ids, made.folded, strict=True) if not folded}
    rows = recommended(
        capsys, "--run", str(mgp_genres.run), "--like", made.track_ids[0], "--k", "4"
    )
    similarities = [row["similarity"] for row in rows]
    assert [row["rank"] for row in rows] == [1, 2, 3, 4]
    assert similarities == sorted(similarities, reverse=True)  # type: ignore[type-var]
    assert not {row["track_id"] for row in rows} & warm
    assert set(rows[0]) == {"rank", "track_id", "title", "artist", "plays", "similarity"}


def test_recommend_for_a_user_leaves_out_what_they_have_played(
    mgp_genres: Fitted, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Factors.load(mgp_genres.world.factors)
    played = {made.track_ids[i] for i in made.listens[0].indices if not made.folded[i]}
    args = ["--run", str(mgp_genres.run), "--user", made.user_ids[0], "--k", "100"]
    rows = recommended(capsys, *args, "--candidates", "all")
    assert rows
    assert not {row["track_id"] for row in rows} & played


def test_recommend_for_a_file_that_is_in_no_dataset(
    audio: Fitted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = next((audio.world.catalogue / "audio").glob("*.flac"))
    copy = tmp_path / "a demo (final) é.flac"
    shutil.copy(source, copy)
    by_file = recommended(capsys, "--run", str(audio.run), "--audio", str(copy), "--k", "60")
    assert len(by_file) >= 6


def test_a_file_sounds_like_itself(audio: Fitted, capsys: pytest.CaptureFixture[str]) -> None:
    made = Factors.load(audio.world.factors)
    cold = next(
        t["track_id"]
        for t in Shards(audio.world.shards).all_tracks(["test"])
        if t["track_id"] in made.row or True
    )
    path = audio.world.catalogue / "audio" / f"{cold}.flac"
    rows = recommended(capsys, "--run", str(audio.run), "--audio", str(path), "--k", "3")
    assert rows[0]["track_id"] == cold
    assert rows[0]["similarity"] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "name one query"),
        (["--like", "a", "--user", "b"], "name one query"),
        (["--like", "no such track"], "no track 'no such track'"),
        (["--user", "nobody"], "no user 'nobody'"),
        (["--audio", "x.flac"], "hears nothing"),
    ],
)
def test_recommend_says_what_is_wrong(
    args: list[str], message: str, mgp_genres: Fitted, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recommend", "--run", str(mgp_genres.run), *args]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


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


@pytest.mark.parametrize("name", CONFIGS)
def test_every_shipped_config_parses_and_prints(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--config", name, "--print_config"])
    assert stop.value.code == 0
    config = yaml.safe_load(capsys.readouterr().out)
    sound = {"Audio", "Spectrogram", "Waveform"} & {
        encoder["class_path"].rsplit(".", 1)[-1] for encoder in config["model"]["encoders"].values()
    }
    on_a_cpu = "small" in name
    assert config["data"]["batch_size"] == (32 if on_a_cpu else 64 if sound else 256)
    stops = any("EarlyStopping" in c["class_path"] for c in config["trainer"]["callbacks"])
    assert stops != (name == "kernel.yaml")  # which is solved, in one epoch
    for encoder in config["model"]["encoders"].values():
        assert encoder["init_args"]["dropout"] == 0.5


def test_every_shipped_config_is_a_fit_s_an_ablation_s_or_a_search_s() -> None:
    assert set(CONFIGS) | set(ABLATIONS) | set(SPACES) == set(SHIPPED)


@pytest.mark.parametrize("name", ABLATIONS)
def test_every_shipped_ablation_parses_and_names_shipped_configs(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["ablate", "--config", name, "--print_config"])
    assert stop.value.code == 0
    config = yaml.safe_load(capsys.readouterr().out)
    parts = {part: SHIPPED[file]["model"] for part, file in config["parts"].items()}
    for part, model in parts.items():
        assert list(model["encoders"]) == [part]
    for row in config["rows"] or []:
        assert set(row) <= set(parts)
    for modality, file in (config["listeners"] or {}).items():
        (_, writer) = SHIPPED[file]["trainer"]["callbacks"]
        assert writer["init_args"]["modality"] == modality


def test_a_config_in_the_current_folder_comes_before_the_shipped_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (configs_folder() / "mgp.yaml").read_text().replace("256", "17")
    (tmp_path / "mgp.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["fit", "--config", "mgp.yaml", "--print_config"])
    assert yaml.safe_load(capsys.readouterr().out)["data"]["batch_size"] == 17


def test_a_later_config_replaces_the_selected_modalities(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    later = tmp_path / "only.yaml"
    later.write_text("model: {encoders: {genres: {class_path: Genres}}}")
    with pytest.raises(SystemExit):
        main(["fit", "--config", "mgp.yaml", "--config", str(later), "--print_config"])
    encoders = yaml.safe_load(capsys.readouterr().out)["model"]["encoders"]
    assert list(encoders) == ["genres"]


BAD_FITS = {
    "a typo in an encoder's name": (
        ["--config", "{typo}"],
        ["MPG", "Audio, Embedding, Genres, MGP, MachineListened, Spectrogram, Waveform"],
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
        ["no modality 'mlg'", "audio, genres, mgp"],
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
    args = ["fit", "--config", str(run / "config.yaml"), "--run", str(run), *QUICK]
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


def test_a_track_without_any_input_gets_no_answer_and_is_none(
    audio: Fitted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pl.read_parquet(audio.world.catalogue / "tracks.parquet").head(4)
    paths = [str(audio.world.catalogue / path) for path in table["audio"]]
    paths[1] = None  # type: ignore[call-overload]
    table.with_columns(audio=pl.Series(paths)).write_parquet(tmp_path / "tracks.parquet")
    shards = tmp_path / "more"
    made_from = tmp_path / "tracks.parquet"
    splits = audio.world.splits
    coldstart.shard(made_from, out=shards, splits=splits, sample_rate=8000, workers=1)
    silent = table["track_id"][1]
    where = ["--run", str(audio.run), "--shards", str(shards)]
    found = recommended(capsys, *where, "--like", table["track_id"][0], "--candidates", "all")
    warm = set(Factors.load(audio.world.factors).track_ids)
    assert silent in warm or silent not in {row["track_id"] for row in found}
    before = (audio.run / "predictions").exists()
    other = ["--data.shards", str(shards), "--data.factors", "null"]
    assert main(["predict", "--run", str(audio.run), *other]) == 0
    assert "nothing is known of 1 tracks" in capsys.readouterr().out
    assert (audio.run / "predictions").exists() == before
    made = pl.read_parquet(audio.run / "predictions_more" / "tracks.parquet")
    assert silent not in made["track_id"]
    assert len(made) == 3


def test_python_refuses_misspelt_choices(tiny_world: World, tmp_path: Path) -> None:
    tracks, listens = (tiny_world.catalogue / f"{n}.parquet" for n in ("tracks", "listens"))
    with pytest.raises(coldstart.InputError, match="'artst' is none of random, artist"):
        coldstart.split(tracks, out=tmp_path / "s.csv", method="artst")  # type: ignore[arg-type]
    for wrong in ({"algorithm": "explict"}, {"weighting": "lin"}):
        with pytest.raises(coldstart.InputError, match="is none of"):
            coldstart.factorize(listens, out=tmp_path / "f", **wrong)  # type: ignore[arg-type]


def test_every_verb_is_a_function_of_the_package() -> None:
    from coldstart.cli import VERBS

    for verb, (module, name, _) in VERBS.items():
        function = verb.replace("-", "_")
        behind = getattr(importlib.import_module(module), name)
        assert name == function or isinstance(behind, dict)  # a verb with verbs of its own
        assert callable(getattr(coldstart, function))
        assert function in dir(coldstart)
