"""The verb `ablate`: fits and tests subsets of modalities, several seeds each → one table.

out/
  runs/<row>/s<seed>/       a run for each row and seed; beside it s<seed>.yaml and s<seed>.log
  listeners/, stage1/       the nets whose outputs other rows read
  sets/                     of SMALL / LARGE: which tracks, and the factors of each
  ablation.json, .csv, .md  the table, written anew after each run that finishes
"""

from __future__ import annotations

import time
from typing import Any

from coldstart.errors import InputError, one_of
from coldstart.files import writable
from coldstart.studies.ablate.design import AblationSettings, TrackSet, read_design
from coldstart.studies.job_runner import run_jobs
from coldstart.studies.wandb_view import Mode


def ablate(
    *,
    parts: dict[str, str],
    rows: list[list[str]] | None = None,
    all_subsets: bool = False,
    seeds: list[int] | None = None,
    shards: str = "shards",
    factors: str = "factors",
    stages: list[int] | None = None,
    stage_folds: int = 5,
    fusion: list[str] | None = None,
    listeners: dict[str, str] | None = None,
    sets: dict[str, TrackSet] | None = None,
    listens: str | None = None,
    factorize: AblationSettings | None = None,
    settings: AblationSettings | None = None,
    out: str = "runs/ablation",
    jobs: int = 1,
    wandb: Mode = "off",
    project: str = "coldstart",
    overwrite: bool = False,
) -> dict[str, Any]:
    """Fit and test subsets of modalities, several seeds each, and write one table.

    An interrupted ablation continues when the same command is given again: runs that have finished
    are kept, and an interrupted one continues from its last checkpoint. Writes ablation.json,
    ablation.csv and ablation.md into `out`, and a run for each row and seed.

    Args:
        parts: modality → config of a model with that modality alone, such as `mgp: mgp.yaml`.
        rows: subsets of the parts, such as `[[audio], [audio, mlg]]`; by default each part alone,
            then all together.
        all_subsets: every subset of the parts, in the place of `rows`.
        seeds: one run each; 0, 1 and 2 by default.
        shards: folder of shards; `{seed}` in it stands for the seed, for splits that differ.
        factors: folder of factors; may have `{seed}` too.
        stages: how rows of several modalities are trained: 2 (single nets first, by default), 1
            (jointly), or both: `[2, 1]`.
        stage_folds: nets a modality in the first stage; see `fit --stages 2`.
        fusion: heads for rows of several modalities; `[MeanLateFusion]` by default.
        listeners: modality to be written before the rest → config of its listener.
        sets: train and test on each of these sets of tracks, all pairs: name → which tracks.
        listens: the listening log, for the factors of each of `sets`.
        factorize: options of `factorize` for the same.
        settings: options for all fits: `{trainer.max_epochs: 20}`. Those of an encoder,
            `model.encoders.NAME.…`, go to the rows that have it.
        out: folder to write.
        jobs: processes side by side; with several GPUs, each takes one in turn.
        wandb: log each run, and the table with a bar chart, to W&B.
        project: of W&B.
        overwrite: replace runs that other settings have made.

    Returns:
        What is in ablation.json.

    Raises:
        InputError: wrong input, or runs that failed (the others' results are kept).
    """
    start, root = time.perf_counter(), writable(out)
    one_of("wandb", wandb, ("off", "offline", "online"))
    if jobs < 1:
        raise InputError("ablate needs jobs ≥ 1")
    if sets and (listens is None or "{seed}" in shards):
        raise InputError("sets need --listens, and one dataset: no {seed} in --shards")
    design = read_design(
        parts=parts,
        rows=rows,
        all_subsets=all_subsets,
        seeds=seeds,
        shards=shards,
        factors=factors,
        stages=stages,
        stage_folds=stage_folds,
        fusion=fusion,
        listeners=listeners,
        settings=settings,
    )
    from coldstart.studies.ablate import fits, table, track_sets  # heavy

    listener_jobs = fits.listener_jobs(design, root)
    run_jobs(listener_jobs, jobs, overwrite=overwrite)
    dataset = design.data[design.seeds[0]]["shards"]
    cells = track_sets.prepare(sets, dataset, str(listens), factorize or {}, root)
    fit_jobs = fits.fit_jobs(design, cells, root, wandb, project)

    def write_table() -> dict[str, Any]:
        return table.write(root, [job for job in fit_jobs if job.finished], listener_jobs)

    run_jobs(fit_jobs, jobs, overwrite=overwrite, after_each=write_table)
    results = write_table()
    if wandb != "off":
        table.to_wandb(root, results, project, wandb)
    print(table.markdown(results))
    print(f"wrote {root / 'ablation.md'}, .csv and .json in {time.perf_counter() - start:,.0f} s")
    print(f"next: coldstart report --run {root}")
    return results
