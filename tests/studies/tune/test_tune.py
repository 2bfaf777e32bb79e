"""The verb `tune`: the search, resumed after a kill, and what it never reads."""

import csv
import json
import math
import os
import shutil
import signal
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import yaml
from helpers import World, begin, midway, wait_for
from lightning.pytorch import Callback, LightningModule, Trainer

from coldstart.cli import main
from coldstart.errors import InputError
from coldstart.factors.factors import Factors
from coldstart.processes import OwnContext
from coldstart.runs.config import configs_folder
from coldstart.shards.reading import Shards
from coldstart.studies.job_runner import Outcome, RunningJob, folder_lock
from coldstart.studies.jobs import FitJob
from coldstart.studies.tune import search, trials, tune
from coldstart.studies.tune.base_config import base_config, resolve
from coldstart.studies.tune.optuna_study import import_optuna
from coldstart.studies.tune.space import SearchSpace, as_flags, read_space
from coldstart.training.lightning_cli import lightning_cli

pytest.importorskip("optuna")


LR = "optimizer.lr"
DROPOUT = "model.encoders.mgp.dropout"
QUICK = ["--data.workers=0", "--optimizer=Adam", "--model.encoders.mgp.hidden=[16]"]


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


class Ended:
    """In the place of a job's process: it has ended when it begins."""

    exitcode = 0

    def __init__(self) -> None:
        self.sentinel, other = os.pipe()
        os.close(other)

    def join(self) -> None:
        pass

    terminate = join


class InstantJob(NamedTuple):
    """In the place of a running job: its outcome is known when it begins."""

    job: FitJob
    slot: int
    process: Ended
    result: Outcome
    start: float = 0.0
    preempted: bool = False

    def outcome(self) -> Outcome:
        return self.result


Figure = Callable[[dict[str, Any]], "float | str | None"]


@pytest.fixture
def searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """A search for which `figure_of` returns a trial's figure, or what went wrong."""

    def run_search(
        figure_of: Figure, space: Any, out: str = "out", **options: Any
    ) -> dict[str, Any]:
        def start_job(job: FitJob, slot: int, slots: int) -> InstantJob:
            assert slot in range(slots)
            figure = figure_of(job.about["params"])
            failure = figure if isinstance(figure, str) else ""
            job.folder.mkdir(parents=True, exist_ok=True)
            (job.folder / "figure").write_text(json.dumps(None if failure else figure))
            return InstantJob(job, slot, Ended(), Outcome(failure, 1.0))

        def measured(run: Path, _: str) -> tuple[dict[str, Any], float | None]:
            return {"epochs": 1}, json.loads((run / "figure").read_text())

        monkeypatch.setattr(search, "start_job", start_job)
        monkeypatch.setattr(trials, "measured", measured)
        monkeypatch.setattr("coldstart.studies.tune.base_config.base_config", base)
        path = write(tmp_path / "space.yaml", space)
        options = {"config": "mgp.yaml", "space": str(path), **options}
        return tune.tune(out=str(tmp_path / out), **options)

    return run_search


def base(config: str, overrides: dict[str, Any], _: SearchSpace) -> dict[str, Any]:
    return resolve([f"--config={configs_folder() / config}"], {**overrides, **ADAM})


ADAM = {"optimizer": "Adam"}
BOWL: dict[str, dict[str, Any]] = {
    LR: {"low": 1e-6, "high": 1.0, "log": True},
    DROPOUT: {"low": 0, "high": 1},
}


def bowl(params: dict[str, Any]) -> float:
    """Its lowest point is at a learning rate of 0.001 and a dropout of 0.25."""
    return float((math.log10(params[LR]) + 3) ** 2 + 9 * (params[DROPOUT] - 0.25) ** 2)


Searched = Callable[..., dict[str, Any]]


def test_a_known_optimum_is_found(searched: Searched) -> None:
    found = searched(bowl, BOWL, trials=40)
    assert found["best"]["val_loss"] < 0.1
    assert abs(math.log10(found["best"]["params"][LR]) + 3) < 0.4
    first, last = found["trials"][:10], found["trials"][-20:]
    # It learns from what it has seen: later trials are better than the first, drawn blindly.
    first, last = (statistics.median(t["val_loss"] for t in some) for some in (first, last))
    assert last < 0.5 * first
    other = searched(lambda p: -bowl(p), BOWL, out="max", trials=1, figure="f", direction="max")
    assert other["best"]["f"] == -bowl(other["best"]["params"])


def test_max_takes_the_highest(searched: Searched, tmp_path: Path) -> None:
    options = {"trials": 5, "figure": "val_ndcg", "direction": "max"}
    found = searched(lambda p: p[DROPOUT], {DROPOUT: {"low": 0, "high": 1}}, **options)
    assert found["best"]["val_ndcg"] == max(t["val_ndcg"] for t in found["trials"])
    made = yaml.safe_load((tmp_path / "out" / "best.yaml").read_text())
    chosen = made["model"]["encoders"]["mgp"]["init_args"]["dropout"]
    assert chosen == found["best"]["params"][DROPOUT]


def test_an_interrupted_search_proposes_what_it_would_have_proposed(
    searched: Searched, tmp_path: Path
) -> None:
    whole = searched(bowl, BOWL, out="whole", trials=16)
    count = 0

    def cut_off(params: dict[str, Any]) -> float:
        nonlocal count
        count += 1
        if count in (3, 13):
            raise KeyboardInterrupt
        return bowl(params)

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            searched(cut_off, BOWL, trials=16)
        with (tmp_path / "out" / "study.journal").open("a") as journal:
            journal.write('{"op_code": 4, "work')  # a line that was cut off
        (tmp_path / "out" / "study.journal.lock").symlink_to("gone")
    found = searched(cut_off, BOWL, trials=16)
    assert count == 18
    for key in ("number", "state", "params", "val_loss"):
        assert [t[key] for t in found["trials"]] == [t[key] for t in whole["trials"]]
    more = searched(bowl, BOWL, trials=18)
    assert more["trials"][:16] == found["trials"]
    assert more["budget"]["wall_seconds"] >= found["budget"]["wall_seconds"]
    with pytest.raises(InputError, match=r"another space.optimizer.lr.high, seed; choose another"):
        searched(bowl, {**BOWL, LR: {**BOWL[LR], "high": 2.0}}, trials=16, seed=1)


def test_failed_trials_are_listed_and_all_failing_is_an_error(
    searched: Searched, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = {DROPOUT: {"choices": [0.0, 0.5, 0.9]}}

    def outcome(params: dict[str, Any]) -> float | str | None:
        outcomes: dict[float, float | str | None] = {0.0: 1.0, 0.5: "it blew up", 0.9: None}
        return outcomes[params[DROPOUT]]

    found = searched(outcome, space, trials=12, jobs=2)
    states = {(t["params"][DROPOUT], t["state"]) for t in found["trials"]}
    assert states == {(0.0, "complete"), (0.5, "failed"), (0.9, "failed")}
    failed = [t for t in found["trials"] if t["state"] == "failed"]
    shown = capsys.readouterr().out
    assert f"12 of 12 trials ended, {len(failed)} failed" in shown
    for trial in failed:
        why = {0.5: "it blew up", 0.9: "val_loss is not finite"}[trial["params"][DROPOUT]]
        assert f"trial {trial['number']} failed: {trial['failure']}" in shown
        assert f"trials/{trial['number']:04}.log" in trial["failure"]
        assert trial["failure"].startswith(why)
    with (tmp_path / "out" / "results.csv").open() as file:
        assert [row["state"] for row in csv.DictReader(file)] == [
            t["state"] for t in found["trials"]
        ]
    with pytest.raises(InputError, match="no trial of 2 succeeded"):
        searched(lambda _: "no", space, out="none", trials=2)
    written = json.loads((tmp_path / "none" / "results.json").read_text())
    assert (written["best"], len(written["trials"])) == (None, 2)


def test_no_trial_begins_after_the_timeout(searched: Searched) -> None:
    def slow(params: dict[str, Any]) -> float:
        time.sleep(0.2)
        return bowl(params)

    found = searched(slow, BOWL, trials=100, timeout=0.01)
    assert 1 <= len(found["trials"]) <= 4
    assert found["budget"]["timeout_minutes"] == 0.01


def test_a_process_that_dies_is_a_failed_trial_and_a_sigterm_is_not(tmp_path: Path) -> None:
    context = OwnContext()
    here, there = context.Pipe(duplex=False)
    dead = context.Process(target=os._exit, args=(7,))
    dead.start()
    there.close()
    started = RunningJob(FitJob(tmp_path, {}, {}, [], {}), 0, dead, here, time.perf_counter())
    assert "ended with status 7" in started.outcome()[0]
    assert not started.preempted
    ended = context.Process(target=time.sleep, args=(60,))
    ended.start()
    started = started._replace(process=ended)
    ended.terminate()
    ended.join()
    assert started.preempted


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trials": 0}, "at least 1"),
        ({"timeout": 0.0}, "timeout > 0"),
        ({"figure": "val_ndcg"}, "say --direction"),
        ({"direction": "up"}, "none of min, max"),
        ({"wandb": "on"}, "none of off"),
        ({"space": "nowhere.yaml"}, "nowhere.yaml"),
        ({"config": "nowhere.yaml"}, "nowhere.yaml"),
        ({"config": "mgp_genres.yaml"}, "--stages 1"),
        ({"overrides": {"run": "x"}}, "--run is not for tune"),
        ({"overrides": {"trainer.devices": 2}}, "use several by --jobs"),
        ({"overrides": {"data.shards": "nowhere"}}, "nowhere"),
    ],
)
def test_a_wrong_search_is_refused_before_anything_runs(
    change: dict[str, Any], message: str, tiny_world: World, tmp_path: Path
) -> None:
    path = write(tmp_path / "space.yaml", {DROPOUT: {"low": 0, "high": 0.5}})
    data = {"data.shards": str(tiny_world.shards), "data.factors": str(tiny_world.factors)}
    options: dict[str, Any] = {"config": "mgp.yaml", "space": str(path), "trials": 1}
    options |= {"out": str(tmp_path / "out"), **change}
    options["overrides"] = {**data, **change.get("overrides", {})}
    with pytest.raises(InputError) as caught:
        tune.tune(**options)
    assert message in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"model.encoders.mgp.hiden": {"choices": [[8]]}}, "hiden"),
        ({"data.batch_size": {"low": 8, "high": 9.5}}, "data.batch_size"),
        ({"optimizer": {"choices": ["Adam", "Adman"]}}, "Adman"),
        ({"stages": {"choices": [1, 2]}}, "--stages is not for tune"),
    ],
)
def test_what_a_fit_doesn_t_accept_is_refused_too(
    space: dict[str, Any], message: str, tiny_world: World, tmp_path: Path
) -> None:
    path = write(tmp_path / "space.yaml", space)
    data = {"data.shards": str(tiny_world.shards), "data.factors": str(tiny_world.factors)}
    with pytest.raises(InputError) as caught:
        base_config("mgp.yaml", data, read_space(path))
    assert message in str(caught.value)


def test_without_optuna_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(InputError, match=r"pip install coldstart\[tune\]"):
        import_optuna()


def test_two_searches_at_once_are_refused(tmp_path: Path) -> None:
    refused = pytest.raises(InputError, match="another tune is at work")
    with folder_lock(tmp_path, "tune"), refused, folder_lock(tmp_path, "tune"):
        pass


def test_a_flag_of_fit_needs_its_value(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", "--config=mgp.yaml", "--data.shards", "--trials=1"]) == 2
    assert "--data.shards: needs a value" in capsys.readouterr().err


class Ranks(Callback):
    """Logs one more figure at each validation, as anybody's callback may."""

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pl_module.log("val_ndcg", float(trainer.global_step))


def test_any_figure_that_a_validation_logs_may_be_judged(tiny_world: World, tmp_path: Path) -> None:
    run = tmp_path / "run"
    data = [f"--data.shards={tiny_world.shards}", f"--data.factors={tiny_world.factors}"]
    fit = ["fit", "--config=mgp.yaml", f"--run={run}", "--trainer.max_epochs=3", *data, *QUICK]
    half = ["--trainer.val_check_interval=0.5", "--data.batch_size=8"]
    lightning_cli("fit", [*fit[1:], *half], [Ranks()])
    validations = json.loads((run / "fit.json").read_text())["validations"]
    facts, value = trials.measured(run, "val_loss")
    assert value == min(row["val_loss"] for row in validations)  # what the checkpoint monitors
    assert len(validations) > facts["epochs"] == 3
    (kept,) = [row["step"] for row in validations if row["val_loss"] == value]
    assert trials.measured(run, "val_ndcg")[1] == kept  # of the model that one gets
    with pytest.raises(InputError, match="no such figure, but val_loss, val_ndcg"):
        trials.measured(run, "val_map")


class Tuned(NamedTuple):
    """A finished search, and its command."""

    out: Path
    args: list[str]
    results: dict[str, Any]


@pytest.fixture(scope="module")
def tuned(tiny_world: World, tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    """Its test tracks can't be read, and whatever is learnt from their factors overflows."""
    root = tmp_path_factory.mktemp("tuning")
    shutil.copytree(tiny_world.shards, root / "shards")
    for path in (root / "shards" / "test").rglob("*.tar"):
        path.write_bytes(b"this is no tar")
    splits = {track["track_id"]: track["split"] for track in Shards(root / "shards").all_tracks()}
    factors = Factors.load(tiny_world.factors)
    of_test = np.array([splits[track] == "test" for track in factors.track_ids])
    assert of_test.any()
    factors.tracks[of_test] = np.finfo(np.float32).max  # its square is no number any more
    factors.save(root / "factors")
    # Nothing is learnt at the one rate; a dropout of 2 can't be.
    about = {LR: {"choices": [1e-9, 0.02]}, DROPOUT: {"choices": [0.0, 2.0]}}
    space, out = write(root / "space.yaml", about), root / "out"
    args = ["tune", "--config", "mgp.yaml", f"--space={space}", f"--out={out}", "--seed=2"]
    args += ["--data.shards", str(root / "shards"), f"--data.factors={root / 'factors'}"]
    args += ["--trainer.max_epochs=5", "--jobs=2", *QUICK]
    assert main([*args, "--trials=3"]) == 0
    return Tuned(out, args, json.loads((out / "results.json").read_text()))


def test_the_planted_rate_wins_and_failures_are_kept(tuned: Tuned, tiny_world: World) -> None:
    rows, best = tuned.results["trials"], tuned.results["best"]
    assert {t["params"][LR] for t in rows if t["state"] == "complete"} == {1e-9, 0.02}
    assert best["params"] == {LR: 0.02, DROPOUT: 0.0}
    assert best["val_loss"] == min(t["val_loss"] for t in rows if t["val_loss"] is not None)
    for trial in rows:
        assert (trial["state"] == "failed") == (trial["params"][DROPOUT] == 2.0)
    assert any(t["state"] == "failed" for t in rows)
    run = tuned.out / "trials" / f"{best['number']:04}"
    assert (run / "checkpoints" / "best.ckpt").is_file()
    log = (tuned.out / "trials" / f"{best['number']:04}.log").read_text()
    assert "fitted 5 epochs" in log
    assert not list(tuned.out.rglob("trials/*/results*"))  # no test was made
    for key in ("space", "seed", "sampler", "figure", "direction", "budget"):
        assert key in tuned.results


def test_the_best_settings_are_a_config(tuned: Tuned, tmp_path: Path) -> None:
    run = tmp_path / "again"
    assert main(["fit", f"--config={tuned.out / 'best.yaml'}", f"--run={run}"]) == 0
    best = tuned.results["best"]
    fit = json.loads((run / "fit.json").read_text())
    least = min(row["val_loss"] for row in fit["validations"])
    assert least == pytest.approx(best["val_loss"], abs=1e-5)


def test_more_trials_go_on_and_wandb_is_a_view(
    tuned: Tuned, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*tuned.args, "--trials=4", "--wandb=offline"]) == 0
    said = capsys.readouterr()
    assert "3 of 4 trials are there already" in said.err
    now = json.loads((tuned.out / "results.json").read_text())
    assert now["trials"][:3] == tuned.results["trials"]
    tables = [json.loads(path.read_text()) for path in tuned.out.rglob("*.table.json")]
    assert any({"trial", "val_loss", LR} <= set(table["columns"]) for table in tables)
    longer = [arg.replace("max_epochs=5", "max_epochs=6") for arg in tuned.args]
    assert main([*longer, "--trials=4"]) == 2
    assert "another config.trainer.max_epochs; choose another" in capsys.readouterr().err


def test_a_search_that_is_stopped_and_killed_goes_on_with_its_trial(
    tiny_world: World, tmp_path: Path
) -> None:
    space = write(tmp_path / "space.yaml", {LR: {"low": 1e-3, "high": 1e-2, "log": True}})
    out = tmp_path / "out"
    args = ["tune", "--config=mgp.yaml", f"--space={space}", f"--out={out}", "--trials=1"]
    args += [f"--data.shards={tiny_world.shards}", f"--data.factors={tiny_world.factors}"]
    args += ["--checkpoint.minutes=0", "--data.batch_size=8", "--trainer.max_epochs=30", *QUICK]
    run = out / "trials" / "0000"

    process = begin(*args)
    wait_for(midway(run, 3), process)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 128 + signal.SIGTERM, said
    assert "give the same command again" in said
    assert "Traceback" not in said
    began = (run / "begun").stat().st_mtime_ns

    process = begin(*args)
    wait_for(lambda: (run / "logs" / "fit-2").is_dir() and midway(run, 6)(), process)
    process.kill()
    process.communicate()

    assert main(args) == 0
    (trial,) = json.loads((out / "results.json").read_text())["trials"]
    assert (trial["state"], trial["epochs"]) == ("complete", 30)
    assert (run / "begun").stat().st_mtime_ns == began  # gone on with, and not begun again
    # What it measured before it was cut off counts: as if it never had been.
    alone = ["fit", f"--config={run}.yaml", f"--run={tmp_path / 'alone'}"]
    assert main([*alone, *as_flags(trial["params"])]) == 0
    whole = json.loads((tmp_path / "alone" / "fit.json").read_text())["validations"]
    again = json.loads((run / "fit.json").read_text())["validations"]
    assert [row["step"] for row in again] == [row["step"] for row in whole]
    for one, two in zip(again, whole, strict=True):
        assert one["val_loss"] == pytest.approx(two["val_loss"], abs=1e-5)
