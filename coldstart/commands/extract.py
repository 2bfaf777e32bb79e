"""The verb `extract`: sound files → vectors and tags by a pretrained net, for `shard`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from coldstart.errors import Broken, InputError
from coldstart.files import StrPath, writable

if TYPE_CHECKING:
    from coldstart.extractors.extraction import Extraction


def extract(
    name: str,
    *,
    audio: StrPath | list[str],
    out: StrPath,
    wheel: StrPath | None = None,
    onnx: StrPath | None = None,
    settings: dict[str, Any] | None = None,
    columns: str | dict[str, str] | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    skip_broken: bool = False,
) -> Extraction:
    """Hear sound files, and write a vector a track, and tags with scores, as tables for `shard`.

    An interrupted job is continued when the same command is given again. A GPU is used if there is
    one.

    Args:
        name: of the extractor: MFCC (statistics; nothing is learnt), MusiCNN (a pretrained tagger),
            Onnx (a net that was exported), or one of another package: see `coldstart plugins`.
        audio: track table with a column `audio`, as `shard` reads it, or folder of sound files,
            whose names without ending are the tracks' ids; may be given several times.
        out: folder of the tables: `vectors.parquet`, and `tags.parquet` if the extractor has tags.
        wheel: of MusiCNN: the file musicnn-0.1.0-py3-none-any.whl, if pip can't fetch it.
        onnx: of Onnx: the model's file.
        settings: of the extractor: `--settings.layer penultimate`.
        columns: what the track table calls its columns: `track_id=song,audio=path`.
        workers: files that are heard at a time; by default one a core.
        overwrite: replace features that were made of other files, or by another extractor.
        skip_broken: leave broken files out and list them in `out`/broken.csv.

    Returns:
        What was extracted.

    Raises:
        InputError: an extractor, its weights or the files can't be had, or a file is broken.
    """
    start = time.monotonic()
    out = writable(out)
    if workers is not None and workers < 1:
        raise InputError(f"workers is at least 1, not {workers}")
    given = dict(settings or {})
    for key, value in {"wheel": wheel, "onnx": onnx}.items():
        if value is not None:
            given[key] = value
    from coldstart.extractors.base import open_extractor
    from coldstart.extractors.extraction import extract_features
    from coldstart.extractors.sound_files import sound_files
    from coldstart.tables.column_names import column_names
    from coldstart.tables.table import write_broken
    from coldstart.tables.tracks import TRACK_COLUMNS

    extractor = open_extractor(name, given)
    broken = Broken(skip_broken)
    names = column_names(columns, TRACK_COLUMNS)
    files = sound_files(audio if isinstance(audio, list) else [audio], broken, names)
    extraction = extract_features(
        extractor, files, out, broken, workers=workers, overwrite=overwrite
    )
    if skipped := write_broken(extraction.folder / "broken.csv", broken):
        print(skipped)
    _report(extraction, time.monotonic() - start)
    return extraction


def _report(extraction: Extraction, seconds: float) -> None:
    folder, modality = extraction.folder, extraction.extractor.lower()
    if extraction.already:
        print(f"{folder}: already there, of the same files")
    else:
        print(
            f"wrote {folder}: vectors of {extraction.tracks:,} tracks, {extraction.width:,} wide; "
            f"{len(extraction.tags)} tags; {extraction.minutes:,.1f} minutes of sound in "
            f"{seconds:,.0f} s"
        )
    tags = f" --attributes.mlg {folder}/tags.parquet" if extraction.tags else ""
    print(
        f"next: coldstart shard tracks.parquet --embeddings.{modality} {folder}/vectors.parquet"
        f"{tags} --out shards"
    )
