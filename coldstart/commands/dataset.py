"""The verb `dataset`: a public data set → coldstart's tables."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable
from typing import Any

from coldstart.datasets import LOADERS
from coldstart.datasets.originals import OriginalPaths
from coldstart.datasets.summary import Summary
from coldstart.errors import InputError
from coldstart.files import StrPath, writable


def dataset(name: str, *, out: StrPath, source: OriginalPaths = None, **options: Any) -> None:
    """Turn a public data set into tables.

    Args:
        name: `hetrec-lastfm`, `yambda`, …: a key of `coldstart.datasets.LOADERS`.
        out: folder for the tables.
        source: folder, file or archive of the original, or a list of them; None: download.
        options: the data set's own, see `coldstart dataset NAME --help`.

    Raises:
        InputError: no such data set, or one of its files is missing, damaged or broken.

    Examples:
        >>> dataset("hetrec-lastfn", out="tables")
        Traceback (most recent call last):
        ...
        coldstart.errors.InputError: there is no data set 'hetrec-lastfn'. Is it 'hetrec-lastfm'?
    """
    if name not in LOADERS:
        similar = difflib.get_close_matches(name, LOADERS, n=1)
        hint = f"Is it '{similar[0]}'?" if similar else f"There are: {', '.join(LOADERS)}"
        raise InputError(f"there is no data set {name!r}. {hint}")
    commands()[name](out=out, source=source, **options)


def commands() -> dict[str, Callable[..., None]]:
    """A sub-command for each data set: its loader, with what was written printed at the end."""
    return {name: _command(loader) for name, loader in LOADERS.items()}


def _command(loader: Callable[..., Summary]) -> Callable[..., None]:
    @functools.wraps(loader)
    def command(*, out: StrPath, **options: Any) -> None:
        _print_summary(loader(out=writable(out), **options))

    return command


def _print_summary(summary: Summary) -> None:
    """Print what was written, what was left out and what comes next."""
    for name, rows in summary.rows.items():
        print(f"wrote {summary.path(name)}: {rows:,} rows")
    if summary.skipped:
        print(summary.skipped)
    tracks, splits = summary.path("tracks"), summary.path("splits")
    if "splits" not in summary.rows:
        print(f"next: coldstart split {tracks} --out {splits}")
    if "listens" in summary.rows:
        listens, factors = summary.path("listens"), summary.out / "factors"
        explicit = " --algorithm explicit" if summary.explicit else ""
        print(f"next: coldstart factorize {listens}{explicit} --splits {splits} --out {factors}")
    modalities = "".join(
        f" --{kind}.{name} {summary.path(name)}" for name, kind in summary.kinds.items() if kind
    )
    shards = summary.out / "shards"
    print(f"next: coldstart shard {tracks} --splits {splits}{modalities} --out {shards}")
