"""The verb `dataset`: a public data set → coldstart's tables."""

from __future__ import annotations

import difflib
from typing import Any

from coldstart.datasets import LOADERS
from coldstart.datasets.originals import Source
from coldstart.errors import InputError
from coldstart.files import StrPath


def dataset(name: str, *, out: StrPath, source: Source = None, **options: Any) -> None:
    """Turn a public data set into tables.

    Args:
        name: `hetrec-lastfm`, `yambda`, …: a key of `coldstart.datasets.LOADERS`.
        out: folder for the tables.
        source: folder, file or archive that is here already, or a list of them; None: download.
        options: the data set's own, see `coldstart dataset NAME --help`.

    Raises:
        InputError: no such data set, or one of its files is missing, damaged or broken.

    >>> dataset("hetrec-lastfn", out="tables")
    Traceback (most recent call last):
    ...
    coldstart.errors.InputError: there is no data set 'hetrec-lastfn'. Is it 'hetrec-lastfm'?
    """
    if name not in LOADERS:
        near = difflib.get_close_matches(name, LOADERS, n=1)
        hint = f"Is it '{near[0]}'?" if near else f"There are: {', '.join(LOADERS)}"
        raise InputError(f"there is no data set {name!r}. {hint}")
    LOADERS[name](out=out, source=source, **options)
