"""Any net that was exported as ONNX, if it takes sound and gives vectors; by onnxruntime."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coldstart.errors import InputError
from coldstart.extractors.base import Extractor, Features
from coldstart.files import StrPath, file_hash, unusable

_WANTED = (
    "needed is one input of samples, float32 [batch, samples] (also [samples], [batch, 1, samples] "
    "and [batch, samples, 1]), and an output of vectors, float32 [batch, width] or [batch, frames, "
    "width]"
)


class Onnx(Extractor):
    """A net of yours, or of others, that was exported as ONNX: sound in, vectors out.

    It computes on the CPU, or where the onnxruntime that is installed does.
    """

    def __init__(
        self,
        onnx: StrPath,
        rate: int,
        seconds: float = 10.0,
        output: str | None = None,
        tags: str | None = None,
        names: StrPath | None = None,
    ) -> None:
        """What the file doesn't say must be given.

        Args:
            onnx: the file.
            rate: Hz of the sound that the net hears.
            seconds: of a window, of a net that takes any length; others say their own.
            output: name of the output that gives the vectors; by default the first. Where it has
                frames, a window's vector is their mean.
            tags: name of an output of scores from 0 to 1, [batch, tags].
            names: a text file with the names of the tags, one a line.

        Raises:
            InputError: the file can't be read, or its net takes or gives something else.
        """
        self.path, self.rate = Path(onnx), rate
        if not 1000 <= rate <= 192_000 or not 0.1 <= seconds <= 600:
            raise InputError("rate is 1,000 to 192,000 Hz, and seconds are 0.1 to 600")
        if reason := unusable(self.path):
            raise InputError(f"--onnx {onnx}: {reason}")
        self.session = _session(self.path)
        self.input = self._checked_input()
        outputs = [each.name for each in self.session.get_outputs()]
        self.output = outputs[0] if output is None else output
        self.tags = tags
        for name in filter(None, (self.output, tags)):
            if name not in outputs:
                raise InputError(f"{onnx}: has no output '{name}'; it has: {', '.join(outputs)}")
        self.tag_names = self._tag_names(names)
        sizes = self.input.shape[1:] or self.input.shape
        fixed = [size for size in sizes if isinstance(size, int) and size > 1]
        self.window = fixed[0] if fixed else round(seconds * rate)
        self.weights = _hash_of(self.path)
        self.settings = {"output": self.output, "tags_output": tags}
        self._try()

    def hear(self, sound: Tensor) -> Features:
        """[N, window] → vectors [N, width] and tags [N, tags]."""
        size = self.input.shape[0] if len(self.input.shape) > 1 else 1
        count = size if isinstance(size, int) and size > 0 else len(sound)
        parts = [self._run(part, count) for part in sound.cpu().split(count)]
        return Features(*(torch.cat(each) for each in zip(*parts, strict=True)))

    def _run(self, sound: Tensor, count: int) -> Features:
        """The net takes `count` windows at a time; of fewer, the last one is repeated."""
        windows = torch.cat([sound, sound[-1:].expand(count - len(sound), -1)])
        shape = [size if size == 1 else -1 for size in self.input.shape[1:]]
        shaped = windows.reshape(count, *shape) if len(self.input.shape) > 1 else windows[0]
        names = [self.output, *([self.tags] if self.tags else [])]
        values = self.session.run(names, {self.input.name: shaped.numpy()})
        vectors = torch.from_numpy(np.asarray(values[0], np.float32))
        if len(self.input.shape) == 1 and vectors.ndim == 1:
            vectors = vectors[None]
        if vectors.ndim == 3:
            vectors = vectors.mean(1)
        tags = torch.zeros(count, 0)
        if self.tags:
            tags = torch.from_numpy(np.asarray(values[1], np.float32)).reshape(count, -1)
        return Features(vectors[: len(sound)], tags[: len(sound)])

    def _checked_input(self) -> Any:
        """The only input, of samples."""
        inputs = self.session.get_inputs()
        shape = inputs[0].shape if inputs else []
        sizes = [size for size in shape[1:] if size != 1] or shape[:1]
        if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(sizes) != 1:
            raise InputError(f"{self.path}: its net {self._signature()}; {_WANTED}")
        return inputs[0]

    def _signature(self) -> str:
        """What the net takes and gives."""
        sides = [
            ", ".join(f"'{each.name}' {each.type} {each.shape}" for each in side)
            for side in (self.session.get_inputs(), self.session.get_outputs())
        ]
        return f"takes {sides[0]} and gives {sides[1]}"

    def _tag_names(self, names: StrPath | None) -> tuple[str, ...]:
        if (names is None) != (self.tags is None):
            raise InputError("the settings tags and names belong together: give both, or neither")
        if names is None:
            return ()
        if reason := unusable(names):
            raise InputError(f"{names}: {reason}")
        lines = Path(names).read_text(encoding="utf-8", errors="replace").splitlines()
        return tuple(line.strip() for line in lines if line.strip())

    def _try(self) -> None:
        """Hear noise: shapes that are wrong show now, and not in the middle of a job."""
        noise = torch.from_numpy(np.random.default_rng(0).normal(0, 0.1, (1, self.window)))
        try:
            features = self.hear(noise.float())
        except Exception as error:  # onnxruntime's own kinds, of which none is public
            reason = str(error).strip().splitlines()[0]
            raise InputError(
                f"{self.path}: its net {self._signature()}, and fails with a window of "
                f"{self.window:,} samples ({reason}); {_WANTED}"
            ) from error
        if features.vectors.ndim != 2 or len(features.vectors) != 1:
            raise InputError(f"{self.path}: its net {self._signature()}; {_WANTED}")
        tags, names = features.tags.shape[1], len(self.tag_names)
        if tags != names or len(set(self.tag_names)) != names:
            raise InputError(
                f"{self.path}: its output '{self.tags}' has {tags} scores, and there are {names} "
                f"names, {len(set(self.tag_names))} of them different; each needs a name of its own"
            )
        if not ((features.tags >= 0) & (features.tags <= 1)).all():
            raise InputError(f"{self.path}: its output '{self.tags}' gives no scores from 0 to 1")


def _hash_of(path: Path) -> str:
    """SHA-256 of the file; of a large net, its weights may lie in another one beside it."""
    beside = path.with_name(f"{path.name}.data")
    if not beside.is_file():
        return file_hash(path)
    return hashlib.sha256(f"{file_hash(path)} {file_hash(beside)}".encode()).hexdigest()


def _session(path: Path) -> Any:
    """The net, with one thread: files are heard side by side."""
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError(
            "the extractor Onnx needs onnxruntime: pip install 'coldstart[onnx]'"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    present = onnxruntime.get_available_providers()
    providers = [f"{kind}ExecutionProvider" for kind in ("CUDA", "CPU")]
    providers = [provider for provider in providers if provider in present]
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime's own kinds, of which none is public
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{path}: not a readable ONNX model ({reason})") from error
