"""MusiCNN's weights: out of its authors' wheel, once, into the user's cache; none are here."""

from __future__ import annotations

import ast
import hashlib
import json
import logging
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from coldstart.errors import InputError
from coldstart.extractors.musicnn_net import from_tensorflow
from coldstart.extractors.tensorflow_bundle import variables
from coldstart.files import StrPath, atomic, atomic_folder, cache_folder, file_hash, unusable

log = logging.getLogger(__name__)

PACKAGE = "musicnn==0.1.0"
WHEEL = "musicnn-0.1.0-py3-none-any.whl"
WHEEL_HASH = "f38a4890c648c1ddbb141c5d96d2b0a8cfcd36746002d896989f7b88beb65cfa"
"""SHA-256 of that file, as the Python package index lists it."""

HASHES = {
    "MTT": "eca04496e4c420213af8bcd4b5f2569f80a7e54e85352740ae1316cb815ee6a1",
    "MSD": "2a8b9d2c97d62ba98fc60e4f09e58deef0d9b3bb58f21ff79f5ef1af190820fa",
}
"""Training set → SHA-256 of what is read from the wheel: see `content_hash`."""

_BY_HAND = f"pip download --no-deps {PACKAGE}"


class Weights(NamedTuple):
    """What was learnt from a training set.

    Attributes:
        state: of a `MusicnnNet`.
        tags: names of its outputs.
        hash: SHA-256 of both.
    """

    state: dict[str, Tensor]
    tags: tuple[str, ...]
    hash: str


def load_weights(training_set: str, wheel: StrPath | None = None) -> Weights:
    """The weights, from the cache; the first time, from the wheel, which pip fetches.

    Args:
        training_set: `MTT` or `MSD`.
        wheel: the wheel's file, where there is no network, or pip isn't to be asked.

    Raises:
        InputError: the wheel can't be had, or something is not what the authors published.
    """
    if wheel is not None:
        _check(Path(wheel))
    path = _place(training_set)
    if not path.is_file():
        path.parent.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.parent.with_suffix(".lock")):
            if not path.is_file():
                _convert(path.parent, wheel)
    return _read(path, training_set)


def has_weights(training_set: str) -> bool:
    """Whether they are in the cache, so that nothing has to be fetched."""
    return _place(training_set).is_file()


def _place(training_set: str) -> Path:
    return cache_folder() / "extractors" / "musicnn" / f"{training_set}.safetensors"


def _read(path: Path, training_set: str) -> Weights:
    try:
        with safe_open(path, "pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            tags = tuple(json.loads(file.metadata()["tags"]))
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not readable weights ({error}); {_anew(path)}") from error
    found = content_hash(state, tags)
    if found != HASHES[training_set]:
        raise InputError(
            f"{path}: holds other weights than those that MusiCNN's authors published (SHA-256 "
            f"{found[:12]}…, not {HASHES[training_set][:12]}…); {_anew(path)}"
        )
    return Weights(state, tags, found)


def _anew(path: Path) -> str:
    return f"delete the folder {path.parent}, and they are made anew"


def content_hash(state: Mapping[str, Tensor], tags: Sequence[str]) -> str:
    """SHA-256 of names, shapes and bytes of all tensors, and of the tags."""
    sha = hashlib.sha256(json.dumps(list(tags)).encode())
    for name, value in sorted(state.items()):
        sha.update(f"{name} {list(value.shape)} {value.dtype}".encode())
        sha.update(value.contiguous().numpy().tobytes())
    return sha.hexdigest()


def _check(wheel: Path) -> None:
    if reason := unusable(wheel):
        raise InputError(f"--wheel {wheel}: {reason}; fetch it: {_BY_HAND}")
    if (found := file_hash(wheel)) != WHEEL_HASH:
        raise InputError(
            f"--wheel {wheel}: is not {WHEEL} as it was published (its SHA-256 is {found[:12]}…, "
            f"not {WHEEL_HASH[:12]}…), and isn't opened; fetch it: {_BY_HAND}"
        )


def _convert(folder: Path, wheel: StrPath | None) -> None:
    """Write the weights of both training sets into a folder."""
    with atomic_folder(folder) as new:
        path = Path(wheel) if wheel is not None else fetch_wheel(new / "wheel")
        with zipfile.ZipFile(path) as archive:
            names = _tag_names(archive.read("musicnn/configuration.py").decode())
            for training_set in HASHES:
                place = f"musicnn/{training_set}_musicnn"
                index = archive.read(f"{place}/.index")
                data = archive.read(f"{place}/.data-00000-of-00001")
                state = from_tensorflow(variables(index, data))
                tags = {"tags": json.dumps(names[f"{training_set}_LABELS"])}
                with atomic(new / f"{training_set}.safetensors") as temporary:
                    save_file(state, temporary, tags)
        if wheel is None:
            path.unlink()
            path.parent.rmdir()


def fetch_wheel(folder: Path) -> Path:
    """The wheel, by the pip of this Python: its index, mirrors and proxies hold."""
    log.info(f"MusiCNN's weights (29 MB, ISC licence) are fetched once: {_BY_HAND}")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download"]
    command += ["--quiet", "--no-deps", "--only-binary=:all:", "--dest", str(folder), PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603 - fixed arguments
    path = folder / WHEEL
    if done.returncode or not path.is_file():
        lines = [
            line for line in done.stderr.splitlines() if "ERROR" in line or "No module" in line
        ]
        reason = lines[-1].strip() if lines else f"pip ended with status {done.returncode}"
        raise InputError(
            f"MusiCNN's weights aren't here, and pip can't fetch them ({reason}); where there is a "
            f"network: {_BY_HAND}; then give its file: --wheel {WHEEL}"
        )
    _check(path)
    return path


def _tag_names(configuration: str) -> dict[str, list[str]]:
    """The lists in the package's configuration, which isn't run."""
    return {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(configuration).body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.List)
    }
