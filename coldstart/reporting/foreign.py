"""What other packages say that nobody here can act on: left out, each by its own words.

Only within `hushed`, which the verbs open: whoever imports the package hears everything.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from coldstart.reporting import progress

WARNINGS = {
    "lightning/": (
        r"`isinstance\(treespec, LeafSpec\)` is deprecated",
        r"The number of training batches \(\d+\) is smaller than the logging interval",
        r"The '\w+' does not have many workers",
        r"Consider setting `persistent_workers=True`",
        r"Your `IterableDataset` has `__len__` defined",
        r"Experiment logs directory .* exists and is not empty",  # its figures are in results.json
        r"LightningCLI's args parameter is intended",  # a program's own arguments go elsewhere
        r"Checkpoint directory .* exists and is not empty",
        r"The `srun` command is available on your system but is not used",
        r"You are using a CUDA device .* that has Tensor Cores",
        r"Starting from v1.9.0, `tensorboardX` has been removed",
        r"MLFlow only allows '_', '/', '.' and ' ' special characters",
    ),
    "lightning/pytorch/cli.py": (  # it calls jsonargparse as that was
        r"(?s).*was deprecated in v4\.\d+\.\d+ and will be removed",
        r"`\w+\.configure_optimizers` will be overridden by",
        r"By default only one JsonargparseDeprecationWarning",
    ),
    "torch/utils/_pytree": (r"`isinstance\(treespec, LeafSpec\)` is deprecated",),
}
"""Part of the path of the file that warns → beginnings of what it says, as regular expressions."""

LINES = (
    r"Seed set to \d+",
    r"(GPU|TPU|HPU|IPU) available: ",
    r"Using .* Automatic Mixed Precision",
    r"💡 Tip: ",
    r"Restor(ing|ed all) states ",
    r"Loaded model weights from the checkpoint",
    r"`Trainer\.fit` stopped: `max_(epochs|steps)=",
    r"`Trainer\(limit_\w+=",
    r"Trainer already configured with model summary callbacks",
    r"Initializing distributed: ",
    r"-+\ndistributed_backend=",
    r"(Creating initial MLflow|Updating) database tables",
    r"Experiment with name .* not found\. Creating it",
    r"LOCAL_RANK: \d+ - CUDA_VISIBLE_DEVICES",
)
"""Beginnings of what Lightning and its loggers log."""

LOGGERS = (
    "lightning.pytorch.utilities.rank_zero",
    "lightning.pytorch.accelerators.cuda",
    "lightning.pytorch.loggers.mlflow",
    "lightning.fabric.utilities.rank_zero",
    "lightning.fabric.utilities.distributed",
    "lightning.fabric.utilities.seed",
    "mlflow.store.db.utils",
)
"""Those that log them: a filter of a logger above these would not be asked."""


def is_foreign(text: str, file: str = "") -> bool:
    """Whether a warning of a file, or else a line that was logged, is left out.

    >>> is_foreign("Seed set to 0"), is_foreign("`Trainer.fit` stopped: No training batches.")
    (True, False)
    >>> is_foreign("The 'val_dataloader' does not have many workers", "/x/lightning/a.py")
    True
    """
    if not file:
        return any(re.match(line, text) for line in LINES)
    place = file.replace("\\", "/")
    return any(
        part in place and any(re.match(line, text.lstrip()) for line in lines)
        for part, lines in WARNINGS.items()
    )


class _Filter(logging.Filter):
    def __init__(self, left_out: LeftOut) -> None:
        super().__init__()
        self.left_out = left_out

    def filter(self, record: logging.LogRecord) -> bool:
        if self.left_out != "none" and is_foreign(record.getMessage()):
            return False
        progress.clear()
        return True


LeftOut = Literal["none", "foreign", "all"]
"""Which messages aren't shown: of `all`, errors are."""


@contextmanager
def hushed(left_out: LeftOut = "foreign") -> Iterator[None]:
    """Within the block, the messages of this file's tables are left out; others have a line.

    Warnings are left out where they are shown, not by Python's filters: packages that are imported
    later put their own before those.

    Args:
        left_out: which ones are.
    """
    show, disabled = warnings.showwarning, logging.root.manager.disable
    foreign = _Filter(left_out)

    def shown(message: Any, category: Any, filename: str, *rest: Any, **others: Any) -> None:
        if left_out == "none" or (left_out == "foreign" and not is_foreign(str(message), filename)):
            progress.clear()
            show(message, category, filename, *rest, **others)

    loggers = [logging.getLogger(name) for name in LOGGERS]
    for logger in loggers:
        logger.addFilter(foreign)
    warnings.showwarning = shown
    if left_out == "all":
        logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(disabled)
        if warnings.showwarning is shown:
            warnings.showwarning = show
        for logger in loggers:
            logger.removeFilter(foreign)
