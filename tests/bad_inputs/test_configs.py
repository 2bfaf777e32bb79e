"""Runs and configs from strangers: nothing in them is executed; what is wrong is one sentence."""

import copy
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from bad_inputs.runs import BEFORE, DATA, MODEL, QUICK, Stderr, changed, command, refused

import coldstart as cs
from coldstart.cli import main
from coldstart.errors import InputError
from coldstart.runs.config import read_config
from coldstart.training.live import validated_run
from coldstart.training.trust import must_be_known, no_pickles


class Bomb:
    """Touches a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """An ordinary run, that a stranger may have changed."""
    return Path(shutil.copytree(BEFORE / "runs" / "mgp", tmp_path / "run"))


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """What no attempt may bring about."""
    return tmp_path / "executed"


THEME = "lightning.pytorch.callbacks.progress.rich_progress.RichProgressBarTheme"

# Dotted key → what builds, calls or reads something there. MARKER stands for a command.
ATTEMPTS: dict[str, tuple[str, Any]] = {
    "a command among the callbacks": ("trainer.callbacks", ["MARKER"]),
    "a command as the logger": ("trainer.logger", "MARKER"),
    "a command in a list of loggers": ("trainer.logger", ["MARKER"]),
    "a command as a strategy": ("trainer.strategy", "MARKER"),
    "a command as a plugin": ("trainer.plugins", "MARKER"),
    "a command as a profiler": ("trainer.profiler", "MARKER"),
    "a command in a progress bar's theme": (
        "trainer.callbacks",
        [
            {
                "class_path": "RichProgressBar",
                "init_args": {
                    "theme": {"class_path": THEME, "init_args": {"description": "MARKER"}}
                },
            }
        ],
    ),
    "a command in the place of the theme": (
        "trainer.callbacks",
        [{"class_path": "RichProgressBar", "init_args": {"theme": "MARKER"}}],
    ),
    "a command in the arguments of any name": (
        "trainer.callbacks",
        [{"class_path": "EarlyStopping", "dict_kwargs": {"monitor": "MARKER"}}],
    ),
    "a command as an encoder": ("model.encoders.mgp", "MARKER"),
    "a command in an encoder's arguments": ("model.encoders.mgp.init_args.hidden", "MARKER"),
    "a command as the head": ("model.fusion", "MARKER"),
    "a command as the target": ("model.target", "MARKER"),
    "a command as the optimizer": ("optimizer", "MARKER"),
    "a command as the scheduler": ("lr_scheduler", "MARKER"),
    "a command for the checkpoints": ("checkpoint.minutes", "MARKER"),
    "a command in the data": ("data.drop", ["MARKER"]),
    "a command under a key that adds": ("trainer.callbacks+", "MARKER"),
    "a command under a key that isn't there": ("extra", "MARKER"),
    "a command in text": ("trainer.callbacks", "TEXT"),
    "a command in text within text": ("optimizer", "TEXT2"),
    "a command in text that is long": ("trainer.callbacks", "LONG"),
    "a command in text of many aliases": ("trainer.callbacks", "ALIASES"),
    "a function as the scheduler": ("lr_scheduler", {"class_path": "os._exit"}),
    "a function for a scheduler": (
        "lr_scheduler",
        {"class_path": "LambdaLR", "init_args": {"lr_lambda": "os._exit"}},
    ),
    "functions for a callback": (
        "trainer.callbacks",
        [{"class_path": "LambdaCallback", "init_args": {"setup": "os.abort"}}],
    ),
    "a function in a class of Lightning's": (
        "trainer.callbacks",
        [{"class_path": "lightning.pytorch.callbacks.model_checkpoint.os.abort"}],
    ),
    "a class of the library's that Lightning imports": (
        "trainer.callbacks",
        [{"class_path": "lightning.pytorch.loggers.csv_logs.Namespace"}],
    ),
    "a function of torch's": ("optimizer", {"class_path": "torch.hub.load"}),
    "a function beside the optimizers": ("optimizer", {"class_path": "torch.optim.swa_utils.cast"}),
    "a class of torch's that is no optimizer": ("optimizer", {"class_path": "torch.nn.Linear"}),
    "a class as text": ("trainer.logger", "subprocess.Popen"),
    "a class path that is a list": ("trainer.logger", {"class_path": ["subprocess.Popen"]}),
    "a class path without a name": ("trainer.logger", {"class_path": None}),
    "a module of the caller's folder": ("trainer.logger", {"class_path": "mine.Logger"}),
    "a private part of ours": ("trainer.callbacks", [{"class_path": "coldstart.cli.main"}]),
    "an address of settings": ("optimizer", "http://127.0.0.1:9/evil.yaml"),
    "an address in an address": ("optimizer", "simplecache::memory://evil.yaml"),
    "a file of settings beside the config": ("optimizer", "evil.yaml"),
    "a file of settings that looks like a word": ("trainer.strategy", "word"),
    "a file of settings for the callbacks": ("trainer.callbacks", "checkpoints/../evil.yaml"),
}


def put_in(value: Any, marker: Path) -> Any:
    text = yaml.safe_dump(command(marker), default_flow_style=True, width=9999)
    stands = {"MARKER": command(marker), "TEXT": text, "TEXT2": yaml.safe_dump({"a": text})}
    stands["LONG"] = f"{{a: [{'1,' * 30_000}], b: {text}}}"
    bomb = ", ".join(f"&{i} [{f'*{i - 1},' * 9}]" if i else "&0 [1]" for i in range(9))
    stands["ALIASES"] = f"{{a: [{bomb}], b: {text}}}"
    if isinstance(value, str):
        return copy.deepcopy(stands.get(value, value))
    if isinstance(value, list):
        return [put_in(part, marker) for part in value]
    if isinstance(value, dict):
        return {key: put_in(part, marker) for key, part in value.items()}
    return value


@pytest.mark.parametrize("case", ATTEMPTS)
def test_a_run_s_config_builds_known_parts_alone(
    case: str, run: Path, marker: Path, capsys: Stderr
) -> None:
    key, value = ATTEMPTS[case]
    (run / "evil.yaml").write_text(yaml.safe_dump(command(marker)))
    (run / "word").write_text(yaml.safe_dump(command(marker)))
    changed(run, key, put_in(value, marker))
    said = refused(["validate", f"--run={run}", *DATA], capsys)
    assert str(run / "config.yaml") in said
    assert not marker.exists()


@pytest.mark.parametrize("verb", ["test", "validate", "predict", "fit"])
def test_every_verb_of_lightning_s_looks_first(
    verb: str, run: Path, marker: Path, capsys: Stderr
) -> None:
    changed(run, "trainer.logger", command(marker))
    resumed = ["--ckpt_path=last"] if verb == "fit" else []
    said = refused([verb, f"--run={run}", *DATA, *resumed], capsys)
    assert "trainer.logger.class_path: would build subprocess.Popen" in said
    assert "--trust" in said
    assert not marker.exists()


def test_verbs_that_read_a_run_build_nothing_of_its_config(
    run: Path, marker: Path, capsys: Stderr
) -> None:
    changed(run, "trainer.callbacks", [command(marker)])
    changed(run, "optimizer", command(marker))
    data = [flag.replace("data.", "") for flag in DATA]
    assert main(["recommend", f"--run={run}", "--user=u00", "--json", *data]) == 0
    assert read_config(run)
    assert cs.load(run)
    assert not marker.exists()


def test_a_run_that_a_fit_is_to_be_like_builds_nothing(
    run: Path, marker: Path, tmp_path: Path
) -> None:
    changed(run, "trainer.callbacks", [command(marker)])
    assert validated_run(run).epochs >= 1
    assert not marker.exists()


def test_who_trusts_a_run_lets_it_build_anything(
    run: Path, marker: Path, tmp_path: Path, capsys: Stderr, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And so the other tests' attempts would work, were it not for the check."""
    text = (
        "import lightning.pytorch as p\nclass Mine(p.Callback):\n def __init__(self, file: str):\n"
    )
    (tmp_path / "of_a_stranger.py").write_text(f"{text}  open(file, 'w').close()\n")
    monkeypatch.syspath_prepend(tmp_path)
    part = {"class_path": "of_a_stranger.Mine", "init_args": {"file": str(marker)}}
    changed(run, "trainer.callbacks", [part])
    args = ["validate", f"--run={run}", *DATA, *QUICK]
    assert "would build of_a_stranger.Mine" in refused(args, capsys)
    assert not marker.exists()
    assert main([*args, "--trust"]) == 0
    assert marker.exists()


GOOD: dict[str, Any] = {
    "callbacks by both names": {
        "callbacks": [
            {"class_path": "EarlyStopping", "init_args": {"monitor": "val_loss"}},
            {"class_path": "lightning.pytorch.callbacks.ModelSummary"},
            {"class_path": "coldstart.RankingOnValidation"},
            {"class_path": "coldstart.training.reports.RankingOnValidation"},
            {"class_path": "RichProgressBar", "init_args": {"theme": {"class_path": THEME}}},
        ]
    },
    "loggers": {
        "logger": [
            {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": "."}},
            {"class_path": "WandbLogger", "init_args": {"project": "a.b", "version": "v1.0"}},
            "lightning.pytorch.loggers.CSVLogger",
        ]
    },
    "words": {"strategy": "ddp", "profiler": "simple", "precision": "16-mixed"},
    "a strategy": {"strategy": {"class_path": "lightning.pytorch.strategies.DDPStrategy"}},
    "plugins": {"plugins": [{"class_path": "lightning.pytorch.plugins.MixedPrecision"}]},
    "a folder of another place": {"default_root_dir": "os.path"},
}


@pytest.mark.parametrize("case", GOOD)
def test_what_ships_with_lightning_is_known(case: str, run: Path) -> None:
    for key, value in GOOD[case].items():
        changed(run, f"trainer.{key}", value)
    must_be_known(run)


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("optimizer", "torch.optim.SGD"),
        ("optimizer", "torch.optim.adamw.AdamW"),
        ("optimizer", "Adam"),
        ("lr_scheduler", "torch.optim.lr_scheduler.StepLR"),
        ("lr_scheduler", "lightning.pytorch.cli.ReduceLROnPlateau"),
        ("model.fusion", "coldstart.fusion.concat.Concat"),
        ("model.fusion", "Gated"),
    ],
)
def test_optimizers_schedulers_and_plugins_are_known(key: str, path: str, run: Path) -> None:
    changed(run, key, {"class_path": path})
    must_be_known(run)


def test_what_the_user_has_named_himself_is_known(run: Path) -> None:
    changed(run, "trainer.callbacks", [{"class_path": "mine.Callback"}])
    with pytest.raises(InputError, match=r"would build mine\.Callback"):
        must_be_known(run, "mine.Callbacks")
    must_be_known(run, "--trainer.callbacks=mine.Callback")


@pytest.mark.parametrize("folder", sorted((BEFORE / "runs").iterdir()), ids=lambda p: p.name)
def test_runs_of_before_are_known(folder: Path) -> None:
    must_be_known(folder)


# Pickles.


@pytest.mark.parametrize("name", ["hpc", "registry", "registry:a:version:1"])
@pytest.mark.parametrize("verb", ["validate", "test", "predict", "fit"])
def test_words_that_lead_to_pickles_are_refused(
    verb: str, name: str, run: Path, marker: Path, capsys: Stderr
) -> None:
    (run / "hpc_ckpt_1.ckpt").write_bytes(pickle.dumps(Bomb(marker)))
    changed(run, "weights_only", False)
    said = refused([verb, f"--run={run}", *DATA, f"--ckpt_path={name}"], capsys)
    assert f"--ckpt_path {name}" in said or "weights_only" in said
    assert not marker.exists()


@pytest.mark.parametrize("place", ["config", "trainer", "flag", "flag and value"])
def test_no_config_lets_pickles_be_read(
    place: str, tmp_path: Path, marker: Path, capsys: Stderr
) -> None:
    config: dict[str, Any] = {"model": MODEL}
    flags = {"flag": ["--weights_only=false"], "flag and value": ["--weights_only", "false"]}
    if place == "config":
        config["weights_only"] = False
    elif place == "trainer":
        config["trainer"] = {"weights_only": False}
    run = tmp_path / "run"
    run.mkdir()
    torch.save(Bomb(marker), run / "bomb.ckpt")
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config))
    args = ["fit", f"--config={tmp_path / 'mine.yaml'}", f"--run={run}", *DATA, *QUICK]
    assert "weights_only" in refused([*args, *flags.get(place, [])], capsys)
    assert not marker.exists()


def test_python_s_overrides_don_t_let_pickles_be_read(run: Path) -> None:
    named = dict(flag.removeprefix("--").split("=") for flag in DATA)
    with pytest.raises(InputError, match="weights_only"):
        cs.validate(run, overrides={**named, "weights_only": "false"})


def test_a_checkpoint_that_a_config_names_is_read_safely(
    tmp_path: Path, marker: Path, capsys: Stderr
) -> None:
    torch.save(Bomb(marker), tmp_path / "bomb.ckpt")
    config = {"model": MODEL, "ckpt_path": str(tmp_path / "bomb.ckpt")}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config))
    run = ["fit", f"--config={tmp_path / 'mine.yaml'}", f"--run={tmp_path / 'run'}"]
    assert "can be read safely" in refused([*run, *DATA, *QUICK], capsys)
    assert not marker.exists()


def test_lightning_s_own_resuming_under_slurm_unpickles_nothing(
    tmp_path: Path, marker: Path, capsys: Stderr, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"SLURM_NTASKS": "1", "SLURM_JOB_NAME": "fit", "SLURM_JOB_ID": "1"}.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "run").mkdir()
    torch.save(Bomb(marker), tmp_path / "run" / "hpc_ckpt_1.ckpt")
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"model": MODEL}))
    run = ["fit", f"--config={tmp_path / 'mine.yaml'}", f"--run={tmp_path / 'run'}"]
    assert "hpc_ckpt_1.ckpt" in refused([*run, *DATA, *QUICK], capsys)
    assert not marker.exists()


def test_a_checkpoint_has_no_say_in_what_is_built(run: Path, marker: Path, capsys: Stderr) -> None:
    best = run / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(best, weights_only=True)
    checkpoint["hyper_parameters"] = {"encoders": {"mgp": command(marker)}}
    torch.save(checkpoint, best)
    assert main(["validate", f"--run={run}", *DATA, *QUICK]) == 0
    assert not marker.exists()


def test_weights_only_may_be_said_where_it_says_nothing_new() -> None:
    no_pickles({"weights_only": None, "a": [{"weights_only": True}]}, "config")
    with pytest.raises(InputError, match=r"a\.0\.weights_only"):
        no_pickles({"a": [{"weights_only": 0.0}]}, "config")


@pytest.mark.parametrize("target", ["factors", "class"])
def test_a_shared_model_of_a_stranger_makes_nothing_else(target: str, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(BEFORE / "exported", tmp_path / "exported"))
    recipe = json.loads((folder / "config.json").read_text())
    if target == "factors":
        recipe["facts"]["factors"]["factors"] = 10**9
    else:
        recipe["encoders"]["mgp"] = {"class": "subprocess.Popen", "init_args": {"args": "true"}}
    (folder / "config.json").write_text(json.dumps(recipe))
    with pytest.raises(InputError, match=str(folder)):
        cs.ColdStart.from_pretrained(folder)


def test_the_nets_of_a_first_stage_are_looked_at_like_a_run(
    tmp_path: Path, marker: Path, capsys: Stderr, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fit's own config may name any class, also for its nets; a stranger's nets may not."""
    (tmp_path / "of_mine.py").write_text(
        "import lightning.pytorch as p\nclass Mine(p.Callback): pass"
    )
    monkeypatch.syspath_prepend(tmp_path)
    mine = {"class_path": "of_mine.Mine"}
    for name in ("shards", "others"):
        shutil.copytree(BEFORE / "shards", tmp_path / name)
    genres = {"class_path": "Genres", "init_args": {"hidden": [4]}}
    encoders = {**MODEL["encoders"], "genres": genres}
    config = {"model": {"encoders": encoders}, "trainer": {"callbacks": [mine], "max_epochs": 1}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config))
    run = tmp_path / "two"
    data = [f"--data.shards={tmp_path / 'shards'}", DATA[1], "--data.workers=0"]
    args = ["fit", f"--config={tmp_path / 'mine.yaml'}", f"--run={run}", "--stage-folds=1"]
    assert main([*args, "--stages=2", *data, *QUICK]) == 0
    assert "of_mine.Mine" in refused(["test", f"--run={run}", *data, *QUICK], capsys)
    for folder in (run, run / "stage1" / "genres" / "fold0"):
        changed(folder, "trainer.callbacks", None)
    net = run / "stage1" / "mgp" / "fold0"
    changed(net, "trainer.callbacks", [command(marker)])
    others = [f"--data.shards={tmp_path / 'others'}", *data[1:], *QUICK]
    assert str(net / "config.yaml") in refused(["predict", f"--run={run}", *others], capsys)
    recommend = ["recommend", f"--run={run}", f"--shards={tmp_path / 'others'}", "--user=u00"]
    assert str(net / "config.yaml") in refused(recommend, capsys)
    assert not marker.exists()


# Which checkpoint.


@pytest.mark.parametrize("verb", ["validate", "test", "predict"])
def test_a_last_checkpoint_that_isn_t_there_is_no_untrained_model(
    verb: str, run: Path, capsys: Stderr
) -> None:
    said = refused([verb, f"--run={run}", *DATA, "--ckpt_path=last"], capsys)
    assert "last.ckpt: there is no such checkpoint" in said


def test_best_and_last_are_the_run_s_own(run: Path, capsys: Stderr) -> None:
    shutil.copy(run / "checkpoints" / "best.ckpt", run / "checkpoints" / "last.ckpt")
    losses = []
    for name in ("best", "last"):
        assert main(["validate", f"--run={run}", *DATA, *QUICK, f"--ckpt_path={name}"]) == 0
        losses.append([line for line in capsys.readouterr().out.splitlines() if "val_loss" in line])
    assert losses[0]
    assert losses[0] == losses[1]
