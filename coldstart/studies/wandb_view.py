"""W&B as a view of many runs: a logger for each, and their table. Files come first."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

Mode = Literal["off", "offline", "online"]


def run_logger(
    root: Path, name: str, key: str, tags: Sequence[str], mode: Mode, project: str
) -> dict[str, Any]:
    """A fit's `trainer.logger`, in the group of all runs under `root`.

    Args:
        root: folder of all of them; its name is the group's.
        name: of the run.
        key: fit and test with one key are one run there.
        tags: repeated ones count once.
        mode: offline or online.
        project: of W&B.
    """
    return {
        "class_path": "WandbLogger",
        "init_args": {
            "project": project,
            "name": name,
            "id": key,
            "offline": mode == "offline",
        },
        "dict_kwargs": {
            "group": root.name,
            "tags": list(dict.fromkeys(tags)),
            "resume": "allow",
        },
    }


def log_table(
    root: Path,
    key: str,
    rows: Sequence[dict[str, Any]],
    chart: tuple[str, str, str],
    mode: Literal["offline", "online"],
    project: str,
) -> None:
    """Log a table and a bar chart of it as one W&B run, in the group of the runs under `root`.

    Args:
        root: folder of the runs.
        key: what the table is called.
        rows: all with the same columns, in the same order.
        chart: the columns of its labels and of its bars, and its title.
        mode: offline or online.
        project: of W&B.
    """
    import wandb

    (root / "wandb").mkdir(parents=True, exist_ok=True)
    label, value, title = chart
    name = f"{root.name} table"
    with (
        _staging_folder(root / "wandb"),
        wandb.init(
            project=project,
            group=root.name,
            name=name,
            mode=mode,
            dir=str(root),
            reinit="create_new",  # a fit of this process may have left its own run open
        ) as run,
    ):
        table = wandb.Table(columns=[*rows[0]], data=[list(row.values()) for row in rows])
        run.log({key: table, title: wandb.plot.bar(table, label, value, title=title)})


@contextmanager
def _staging_folder(folder: Path) -> Iterator[None]:
    """Within the block W&B stages tables here, whatever an earlier fit of this process has set."""
    earlier = os.environ.get("WANDB_DATA_DIR")
    os.environ["WANDB_DATA_DIR"] = str(folder.absolute())
    try:
        yield
    finally:
        if earlier is None:
            del os.environ["WANDB_DATA_DIR"]
        else:
            os.environ["WANDB_DATA_DIR"] = earlier
