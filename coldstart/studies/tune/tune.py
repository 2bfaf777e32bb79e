"""The verb `tune`: fits with settings that Optuna chooses, judged on the validation split alone.

out/
  base.yaml                   the fit's whole configuration, before anything is chosen
  study.journal               Optuna's: the trials, and their outcomes
  trials/0007/                a run for each trial; beside it 0007.yaml and 0007.log
  results.json, results.csv   all trials, written anew after each
  best.yaml                   the configuration of the best so far, for `fit --config`
"""

from __future__ import annotations

import time
from typing import Any, Literal

from coldstart.errors import InputError, one_of
from coldstart.files import writable
from coldstart.studies.wandb_view import Mode


def tune(
    *,
    config: str,
    space: str,
    trials: int,
    out: str = "runs/tune",
    timeout: float | None = None,
    jobs: int = 1,
    seed: int = 0,
    figure: str = "val_loss",
    direction: Literal["min", "max"] | None = None,
    wandb: Mode = "off",
    project: str = "coldstart",
    overrides: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Search for good settings of a fit, by what it measures on the validation tracks.

    Each trial is an ordinary run in a process of its own. An interrupted search continues when the
    same command is given again: trials that have ended are kept, and an interrupted one continues
    from its last checkpoint. On the command line any flag of `fit` may be given: --data.shards
    shards.

    Args:
        config: of the fit: a YAML file, or the bare name of a shipped one.
        space: a YAML file, from a fit's flags to what they may be; see docs/tuning.md.
        trials: how many in all, those of interrupted searches and failed ones too.
        out: folder to write.
        timeout: minutes, of this command, after which no further trial begins.
        jobs: trials side by side; with several GPUs, each takes one in turn.
        seed: of the sampler. The fits' own is `seed_everything`, the same for all trials.
        figure: what a validation logs; of a trial it is that of the checkpoint that is kept.
        direction: min or max; needed for another figure than val_loss, which is minimised.
        wandb: log each trial, and the table with a bar chart, to W&B.
        project: of W&B.
        overrides: flags of the fit: `{"data.shards": "shards", "trainer.max_epochs": 5}`.

    Returns:
        What is in results.json.

    Raises:
        InputError: wrong input, the folder is of another search, or no trial succeeded.
        Preempted: a SIGTERM came; what was running can be continued.
    """
    start, root = time.perf_counter(), writable(out)
    one_of("wandb", wandb, ("off", "offline", "online"))
    if trials < 1 or jobs < 1 or seed < 0 or (timeout is not None and timeout <= 0):
        raise InputError("tune needs trials and jobs of at least 1, seed ≥ 0 and timeout > 0")
    if direction is None and figure != "val_loss":
        raise InputError(f"--figure {figure}: say --direction min or --direction max")
    direction = direction or "min"
    one_of("direction", direction, ("min", "max"))
    from coldstart.studies.tune import search, table  # heavy
    from coldstart.studies.tune.base_config import base_config
    from coldstart.studies.tune.optuna_study import import_optuna
    from coldstart.studies.tune.space import read_space

    search_space = read_space(space)
    import_optuna()  # without it, nothing is read and nothing is written
    base = base_config(config, overrides or {}, search_space)
    content = search.run_search(
        root,
        config,
        base,
        search_space,
        trials=trials,
        timeout=timeout,
        jobs=jobs,
        seed=seed,
        figure=figure,
        direction=direction,
        wandb=wandb,
        project=project,
        start=start,
    )
    print(table.markdown(content))
    if not content["best"]:
        raise InputError(f"no trial of {len(content['trials'])} succeeded: see {root}/trials/*.log")
    if wandb != "off":
        table.to_wandb(root, content, project, wandb)
    joint = " --stages 1" if len(base["model"]["encoders"]) > 1 else ""
    print(f"wrote {root / 'results.json'}, results.csv and best.yaml")
    best = f"--config {root / 'best.yaml'}{joint}"
    print(f"again, with another seed: coldstart fit {best} --seed_everything 1")
    print(f"next: coldstart test --run {table.trial_folder(root, content['best']['number'])}")
    return content
