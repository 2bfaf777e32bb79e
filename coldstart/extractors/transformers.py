"""Pretrained audio nets of the Hugging Face hub, or of a folder, by the package transformers."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor, nn

from coldstart.errors import InputError, one_line
from coldstart.extractors.base import Extractor, Features

_NEEDS = (
    "needed is a net that hears sound, whose code transformers has itself, with weights in "
    "safetensors: CLAP, wav2vec 2.0, HuBERT, WavLM, AST and their like"
)


class Transformers(Extractor):
    """A pretrained net: CLAP's embedding of sound, or the mean over time of what another one gives.

    Code that a model brings along is never run, nor is a pickle read: models that need their
    authors' code, such as MERT and MuQ, want a package of their own (`docs/extract.md`).
    """

    def __init__(
        self,
        model: str,
        revision: str = "main",
        seconds: float = 10.0,
        layer: int = -1,
        tags: bool = False,
    ) -> None:
        """It is fetched once, and then kept in the hub's cache.

        Args:
            model: its name on the hub, such as `laion/clap-htsat-unfused`, or a folder.
            revision: of the hub's repository: a branch, a tag or, so that it stays the same, the
                hash of a commit.
            seconds: of a window, of a net that takes any length; CLAP and AST have their own.
            layer: of a net with hidden layers: 0 is what the first one reads, -1 the last one's
                output. CLAP has one output.
            tags: of a net that was fitted to tag sound: its classes' scores are tags.

        Raises:
            InputError: the package is missing, the net can't be had, or hears no sound.
        """
        library = _library()
        if not 0.1 <= seconds <= 600:
            raise InputError(f"seconds are 0.1 to 600, not {seconds}")
        auto = library.AutoModelForAudioClassification if tags else library.AutoModel
        library.utils.logging.disable_progress_bar()
        options = {"revision": revision, "trust_remote_code": False}
        try:
            self._reader = library.AutoFeatureExtractor.from_pretrained(model, **options)
            self._net = auto.from_pretrained(model, use_safetensors=True, **options).eval()
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            reason = one_line(error)[:300]
            raise InputError(f"the net {model!r} can't be used ({reason}); {_NEEDS}") from error
        if not hasattr(self._reader, "sampling_rate"):
            raise InputError(f"the net {model!r} hears no sound; {_NEEDS}")
        self.rate = int(self._reader.sampling_rate)
        own = getattr(self._reader, "nb_max_samples", None) or round(seconds * self.rate)
        self.window = int(own)
        self._layer, self._tags = layer, tags
        if tags:
            names = self._net.config.id2label
            self.tag_names = tuple(str(names[number]) for number in range(len(names)))
        self.weights = _hash_of(self._net)
        self.settings = {"layer": layer, "tags": tags}
        self.nets = (self._net,)
        self._try(model)

    def _try(self, model: str) -> None:
        """A second of silence shows whether the net takes what its reader makes of sound."""
        try:
            with torch.inference_mode():
                self.hear(torch.zeros(1, self.window))
        except (TypeError, ValueError, RuntimeError, AttributeError, IndexError) as error:
            reason = one_line(error)[:300]
            raise InputError(f"the net {model!r} can't hear sound ({reason}); {_NEEDS}") from error

    def hear(self, sound: Tensor) -> Features:
        """[N, window] → vectors [N, width] and tags [N, classes]."""
        read = self._reader(list(sound.cpu().numpy()), sampling_rate=self.rate, return_tensors="pt")
        inputs = {name: values.to(self.device) for name, values in read.items()}
        none = sound.new_zeros(len(sound), 0)
        if hasattr(self._net, "get_audio_features"):
            found = self._net.get_audio_features(**inputs)
            return Features(getattr(found, "pooler_output", found), none)
        output = self._net(**inputs, output_hidden_states=True)
        vectors = output.hidden_states[self._layer].flatten(1, -2).mean(1)
        return Features(vectors, output.logits.sigmoid() if self._tags else none)


def _library() -> Any:
    try:
        import transformers
    except ModuleNotFoundError as error:
        raise InputError(
            "transformers is missing, which this extractor needs; install it: "
            "pip install 'coldstart[transformers]'"
        ) from error
    return transformers


def _hash_of(net: nn.Module) -> str:
    """SHA-256 of all weights, by their names."""
    digest = hashlib.sha256()
    for name, values in sorted(net.state_dict().items()):
        digest.update(name.encode())
        digest.update(values.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
