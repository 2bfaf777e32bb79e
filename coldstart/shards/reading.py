"""`Shards`: reading a dataset, shard by shard."""

from __future__ import annotations

import json
import mmap
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Any

from coldstart.errors import InputError
from coldstart.files import StrPath, is_remote
from coldstart.sample import Sample, folder_of
from coldstart.shards import remote
from coldstart.shards.format import MAPPED, VERSION, place_of, track_of
from coldstart.tables.splits import IN_USE, NEW, SPLITS


class Shards:
    """A dataset of shards; only `dataset.json` is read until samples are asked for.

    Args:
        folder: on disk, or an address such as `s3://bucket/shards`; see `remote.py`.

    Attributes:
        folder: where it lies; of a remote dataset, the local copy.
        about: `dataset.json`.
        address: of a remote dataset; None for any other.
        removed: ids of tracks that were withdrawn: learnt from and measured, not recommended.
        current: of ids that the dataset has twice or more, the shard with the copy that counts.

    Raises:
        InputError: no dataset, one of another version, or it can't be reached.
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
            consistent = version != VERSION or all(
                _matches(info["shards"], split, sizes)
                for info in self.about["modalities"].values()
                for split, sizes in self.about["splits"].items()
            )
        except ValueError as error:
            raise InputError(f"{path}: not readable JSON ({error})") from error
        except (LookupError, TypeError, AttributeError):
            consistent, version = False, VERSION
        if version != VERSION:
            raise InputError(
                f"{path}: shards of version {version}; this coldstart reads version {VERSION}"
            )
        self.address = remote.origin(self.folder, self.about)
        if not consistent:
            raise InputError(f"{path}: not as coldstart writes it, or changed by hand; shard again")
        self.removed: frozenset[str] = frozenset(self.about.get("removed", ()))
        self.current: dict[str, str] = dict(self.about.get("current", {}))

    @property
    def place(self) -> str:
        """The dataset's address, or its folder's absolute path."""
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

    @property
    def split_names(self) -> tuple[str, ...]:
        """The splits: train, val and test, and `new` if tracks were added to them."""
        return IN_USE if NEW in self.about["splits"] else SPLITS

    def is_in_use(self, track_id: str, split: str, shard: int) -> bool:
        """Whether a shard's track is one to recommend: not removed, and the copy that counts."""
        place = place_of(split, shard)
        return track_id not in self.removed and self.current.get(track_id, place) == place

    def tracks_in_use(self) -> list[dict[str, Any]]:
        """Every track that may be recommended, with its `split`: of each id the copy that counts,
        also of tracks that were added since the fit, without those that were removed.
        """
        return [
            {**track, "split": split}
            for split in self.split_names
            for shard in range(len(self.shard_sizes(split)))
            for track in self.tracks(split, shard)
            if self.is_in_use(track["track_id"], split, shard)
        ]

    def count(self, folder: str, split: str, shard: int) -> int:
        """How many of a shard's tracks have a modality.

        Of `new` shards, `dataset.json` may list fewer than there are: none of their tracks has it.
        """
        counts: list[int] = self.info(folder)["shards"].get(split, [])
        return counts[shard] if shard < len(counts) or split != NEW else 0

    def shard_sizes(self, split: str) -> list[int]:
        """Tracks in each shard of a split; empty for a split without tracks."""
        sizes: list[int] = self.about["splits"].get(split, [])
        return sizes

    def tracks(self, split: str, shard: int) -> list[dict[str, Any]]:
        """The shard's tracks in order: track_id, title, artist, and the table's other columns."""
        path = self._local(self.folder / split / "tracks" / f"{shard:06d}.json")
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

    def all_tracks(self, splits: Iterable[str] = SPLITS) -> list[dict[str, Any]]:
        """Every track of these splits, with its `split`: what is learnt from and measured.

        What is recommended, predicted or listed are `tracks_in_use`.
        """
        return [
            {**track, "split": split}
            for split in splits
            for shard in range(len(self.shard_sizes(split)))
            for track in self.tracks(split, shard)
        ]

    def samples(self, split: str, shard: int, fields: Iterable[str]) -> Iterator[Sample]:
        """Stream one shard's tracks with these fields, joined in order.

        Each track comes exactly once, with the fields it has.

        Raises:
            InputError: a tar is missing, damaged, or doesn't match dataset.json.
        """
        by_folder: dict[str, set[str]] = {}
        for field in fields:
            present = self.info(folder_of(field))["fields"]
            if field not in present:
                raise InputError(
                    f"{self.folder}: no field '{field}'; there is: {', '.join(present)}"
                )
            by_folder.setdefault(folder_of(field), set()).add(field)
        streams = {folder: self._members(folder, split, shard) for folder in by_folder}
        ahead = {folder: next(stream, None) for folder, stream in streams.items()}
        for track in self.tracks(split, shard):
            sample: Sample = {"track_id": track["track_id"], "shard": place_of(split, shard)}
            for folder, names in by_folder.items():
                member = ahead[folder]
                if member is not None and track_of(member["__key__"]) == track["track_id"]:
                    sample.update({field: member[field] for field in names & member.keys()})
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

    def _local(self, path: Path) -> Path:
        """A file of this dataset, fetched if the dataset is remote and the file isn't here yet."""
        if self.address and not path.is_file():
            remote.fetch(f"{self.address}/{path.relative_to(self.folder).as_posix()}", path)
        return path

    def _members(self, folder: str, split: str, shard: int) -> Iterator[dict[str, Any]]:
        expected = self.count(folder, split, shard)
        if split == NEW and expected == 0:  # no tar was written
            return
        path = self._local(self.tar(folder, split, shard))
        mapped = not MAPPED.isdisjoint(self.info(folder)["fields"].values())
        remedy = f"shard '{folder}' again with --overwrite"
        count = 0
        try:
            for sample in _read_tar(path, mapped):
                count += 1
                yield sample
        except FileNotFoundError as error:
            raise InputError(f"{path}: missing, though dataset.json lists it; {remedy}") from error
        except (OSError, ValueError, EOFError, tarfile.TarError) as error:
            reason = str(error.args[0] if error.args else error).partition(" @ ")[0]
            raise InputError(
                f"{path}: damaged after {count} of {expected} tracks ({reason}); {remedy}"
            ) from error
        if count != expected:
            raise InputError(
                f"{path}: holds {count} tracks, but dataset.json says {expected}; the tar is cut "
                f"off or was changed; {remedy}"
            )


def _matches(counts: dict[str, list[int]], split: str, sizes: list[int]) -> bool:
    """Whether a modality's counts belong to a split of these sizes."""
    if split == NEW:
        return len(counts.get(NEW, [])) <= len(sizes)
    return len(counts[split]) == len(sizes)


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
