"""Shards: one folder a modality, one tar a shard. This is the format, and how it is read.

    shards/
      dataset.json                   version; tracks per shard; per modality fields and facts
      train/tracks/000000.json       the shard's tracks in order: track_id, title, artist, …
      train/audio/000000.tar         <key>.audio.flac     mono FLAC
      train/cqt/000000.tar           <key>.cqt.npy        spectrogram [frames, bins]
      train/mgp/000000.tar           <key>.mgp.npy        float32 vector
      train/genres/000000.tar        <key>.genres.json    list of names
      train/mlg/000000.tar           <key>.mlg.npy        written later, by a trained listener
      val/…  test/…

Each tar alone is an ordinary WebDataset tar. Shard 000007 holds the same tracks in the same order
in every folder, and a track without that modality is simply not in that folder's tar. A run reads
only the folders that it selected; adding one never rewrites another; a missing modality is a fact
of the data, not a filler value. Factors are not in the shards: they are joined when a batch is
made. Keys are escaped track ids. No pickle is ever read or written.

`dataset.json`:

    {"version": 1, "plan": "…",                      fingerprint of the tracks and their order
     "splits": {"train": [256, 224], …},             tracks per shard
     "modalities": {
       "mgp": {"fields": {"mgp.npy": "npy"},         tar member → codec
               "shards": {"train": [256, 220], …},   members per shard
               "source": "…",                        fingerprint of what it was made from
               "names": […], "mean": […], "std": […]}}}   facts, over the training tracks
"""

from __future__ import annotations

import json
import mmap
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from filelock import FileLock
from webdataset.writer import TarWriter

from coldstart import remote
from coldstart.errors import InputError
from coldstart.files import StrPath, atomic, is_remote, write_json
from coldstart.sample import Sample, folder_of

VERSION = 1

MAPPED = frozenset({"flac", "frames"})
"""Codecs of which a piece is enough: such fields are views of the mapped tar, others are bytes."""


def key_of(track_id: str) -> str:
    """Escape a track id for use as a tar key: reversible, without dots, slashes or spaces.

    >>> key_of("AC/DC - T.N.T. é")
    'AC%2FDC%20-%20T%2EN%2ET%2E%20%C3%A9'
    """
    return quote(track_id, safe="").replace(".", "%2E")


def track_of(key: str) -> str:
    """Undo `key_of`."""
    return unquote(key)


class Shards:
    """A dataset of shards; only `dataset.json` is read until samples are asked for.

    Args:
        folder: on disk, or an address such as `s3://bucket/shards`; see `remote.py`.

    Raises:
        InputError: there is no dataset, one of another version, or it can't be reached.
    """

    def __init__(self, folder: StrPath) -> None:
        self.folder = remote.mirror(os.fspath(folder)) if is_remote(folder) else Path(folder)
        path = self.folder / "dataset.json"
        if not path.is_file():
            raise InputError(
                f"{folder}: no dataset here (dataset.json is missing); make one with "
                f"`coldstart shard TRACKS --splits SPLITS --out {folder}`"
            )
        try:
            self.about: dict[str, Any] = json.loads(path.read_bytes())
            version = self.about["version"]
            fits = version != VERSION or all(
                len(info["shards"][split]) == len(sizes)
                for info in self.about["modalities"].values()
                for split, sizes in self.about["splits"].items()
            )
        except ValueError as error:
            raise InputError(f"{path}: not readable JSON ({error})") from error
        except (LookupError, TypeError, AttributeError):
            fits, version = False, VERSION
        if version != VERSION:
            raise InputError(
                f"{path}: shards of version {version}; this coldstart reads version {VERSION}"
            )
        self.address = remote.origin(self.folder, self.about)
        if not fits:
            raise InputError(f"{path}: not as coldstart writes it, or changed by hand; shard again")

    @property
    def place(self) -> str:
        """What names this dataset to anybody: its address, or the folder's absolute path."""
        return self.address or str(self.folder.absolute())

    @property
    def modalities(self) -> dict[str, dict[str, Any]]:
        """Modality folder → its facts in dataset.json."""
        modalities: dict[str, dict[str, Any]] = self.about["modalities"]
        return modalities

    def info(self, folder: str) -> dict[str, Any]:
        """Facts of one modality.

        Raises:
            InputError: the dataset doesn't have it (lists what it has).
        """
        if folder not in self.modalities:
            raise InputError(
                f"{self.folder}: this dataset has no modality '{folder}'; it has: "
                f"{', '.join(sorted(self.modalities)) or 'none'}"
            )
        return self.modalities[folder]

    def shard_sizes(self, split: str) -> list[int]:
        """Tracks in each shard of a split; empty for a split without tracks."""
        sizes: list[int] = self.about["splits"].get(split, [])
        return sizes

    def tracks(self, split: str, shard: int) -> list[dict[str, Any]]:
        """The shard's tracks in order: track_id, title, artist, artist_id, release_date."""
        path = self._here(self.folder / split / "tracks" / f"{shard:06d}.json")
        if not path.is_file():
            raise InputError(f"{path}: missing, though dataset.json lists it; shard again")
        try:
            tracks: list[dict[str, Any]] = json.loads(path.read_bytes())
        except ValueError as error:
            raise InputError(f"{path}: not readable JSON ({error}); shard again") from error
        if len(tracks) != self.shard_sizes(split)[shard]:
            raise InputError(
                f"{path}: lists {len(tracks)} tracks, but dataset.json says "
                f"{self.shard_sizes(split)[shard]}; shard again"
            )
        return tracks

    def all_tracks(self, splits: Iterable[str] = ("train", "val", "test")) -> list[dict[str, Any]]:
        """Every track of these splits, with its `split`."""
        return [
            {**track, "split": split}
            for split in splits
            for shard in range(len(self.shard_sizes(split)))
            for track in self.tracks(split, shard)
        ]

    def samples(self, split: str, shard: int, fields: Iterable[str]) -> Iterator[Sample]:
        """Stream one shard's tracks with the wanted fields, joined in order.

        Each track comes exactly once, with the fields it has.

        Raises:
            InputError: a tar is missing, damaged, or doesn't match dataset.json.
        """
        by_folder: dict[str, set[str]] = {}
        for field in fields:
            have = self.info(folder_of(field))["fields"]
            if field not in have:
                raise InputError(f"{self.folder}: no field '{field}'; there is: {', '.join(have)}")
            by_folder.setdefault(folder_of(field), set()).add(field)
        streams = {folder: self._members(folder, split, shard) for folder in by_folder}
        ahead = {folder: next(stream, None) for folder, stream in streams.items()}
        for track in self.tracks(split, shard):
            sample: Sample = {"track_id": track["track_id"], "shard": f"{split}/{shard:06d}"}
            for folder, wanted in by_folder.items():
                member = ahead[folder]
                if member is not None and track_of(member["__key__"]) == track["track_id"]:
                    sample.update({field: member[field] for field in wanted & member.keys()})
                    ahead[folder] = next(streams[folder], None)
            yield sample
        for folder, member in ahead.items():
            if member is not None:
                raise InputError(
                    f"{self.tar(folder, split, shard)}: holds track "
                    f"{track_of(member['__key__'])!r} out of place; shard '{folder}' again"
                )

    def tar(self, folder: str, split: str, shard: int) -> Path:
        """Where a modality's tar lies."""
        return self.folder / split / folder / f"{shard:06d}.tar"

    def _here(self, path: Path) -> Path:
        """A file of this dataset, fetched if it lies elsewhere and was never read before."""
        if self.address and not path.is_file():
            remote.fetch(f"{self.address}/{path.relative_to(self.folder).as_posix()}", path)
        return path

    def _members(self, folder: str, split: str, shard: int) -> Iterator[dict[str, Any]]:
        path = self._here(self.tar(folder, split, shard))
        expected = self.info(folder)["shards"][split][shard]
        mapped = not MAPPED.isdisjoint(self.info(folder)["fields"].values())
        mend = f"shard '{folder}' again with --overwrite"
        count = 0
        try:
            for sample in _read_tar(path, mapped):
                count += 1
                yield sample
        except FileNotFoundError as error:
            raise InputError(f"{path}: missing, though dataset.json lists it; {mend}") from error
        except (OSError, ValueError, EOFError, tarfile.TarError) as error:
            reason = str(error.args[0] if error.args else error).partition(" @ ")[0]
            raise InputError(
                f"{path}: damaged after {count} of {expected} tracks ({reason}); {mend}"
            ) from error
        if count != expected:
            raise InputError(
                f"{path}: holds {count} tracks, but dataset.json says {expected}; the tar is cut "
                f"off or was changed; {mend}"
            )


def _read_tar(path: Path, mapped: bool) -> Iterator[dict[str, Any]]:
    """`__key__` and fields of each track of an uncompressed tar.

    The members' places are read from the tar, and each member at once: reading the tar as a stream
    of small blocks takes 20 times as long.
    """
    with tarfile.open(path, "r:") as tar, path.open("rb", buffering=0) as file:
        read = _views_of(file) if mapped else partial(_read_at, file)
        sample: dict[str, Any] = {}
        for member in tar:
            tar.members = []  # type: ignore[attr-defined]  # else it would remember them all
            key, _, field = member.name.partition(".")
            if sample and sample["__key__"] != key:
                yield sample
                sample = {}
            if field in sample:
                raise ValueError(f"{member.name} is there twice")
            content = read(member.offset_data, member.size)
            if len(content) < member.size:
                raise EOFError(f"{member.name} is cut off")
            sample |= {"__key__": key, field: content}
        if sample:
            yield sample


def _read_at(file: FileIO, start: int, size: int) -> bytes:
    file.seek(start)
    return file.read(size)


def _views_of(file: FileIO) -> Callable[[int, int], memoryview]:
    """Only what is used of a view is read; the file stays mapped while there is a view of it."""
    whole = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    return lambda start, size: whole[start : start + size]


def write_tar(path: Path, members: Iterable[tuple[str, Mapping[str, bytes]]]) -> int:
    """Write an ordinary WebDataset tar, atomically; the same content gives the same bytes.

    Args:
        path: the tar to write.
        members: track id and {field: bytes}, in the shard's order.

    Returns:
        How many tracks were written.
    """
    count = 0
    with (
        atomic(path) as temporary,
        TarWriter(str(temporary), encoder=False, mtime=0, user="", group="") as tar,
    ):
        for track_id, fields in members:
            tar.write({"__key__": key_of(track_id), **fields})
            count += 1
    return count


def write_dataset(folder: StrPath, about: Mapping[str, Any]) -> None:
    """Write dataset.json, atomically."""
    write_json(Path(folder) / "dataset.json", about)


def changing(dataset: Shards) -> FileLock:
    """Lock a dataset while its list of modalities is read, changed and written back.

    Several processes may add modalities to one dataset; readers need no lock.
    """
    return FileLock(dataset.folder / ".lock", is_singleton=True)


def list_modality(dataset: Shards, name: str, facts: Mapping[str, Any] | None) -> None:
    """Enter a modality into dataset.json, or take it out (None); the others stay as they are."""
    with changing(dataset):
        now = Shards(dataset.folder)
        others = {key: value for key, value in now.modalities.items() if key != name}
        made = {**others, name: dict(facts)} if facts is not None else others
        if made != now.modalities:
            write_dataset(dataset.folder, {**now.about, "modalities": made})
