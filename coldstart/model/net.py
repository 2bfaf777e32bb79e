"""`Net`: any encoders, one fusion head, one target; it has nothing to do with a trainer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

import torch
from torch import Tensor, nn

from coldstart import registry
from coldstart.data.batch import Batch, Lent
from coldstart.encoders.base import Encoder, Modality
from coldstart.errors import InputError
from coldstart.factors.listening import Listening
from coldstart.files import StrPath
from coldstart.fusion.base import FusionHead
from coldstart.fusion.concat import Concat
from coldstart.fusion.mean import MeanLateFusion
from coldstart.model.buildable import buildable
from coldstart.model.checkpoint import VERSION, best_checkpoint, read_checkpoint
from coldstart.sample import Sample, folder_of
from coldstart.targets.base import Target
from coldstart.targets.track_factors import FACTORS, TrackFactors

AnyNet = TypeVar("AnyNet", bound="Net")

FACTORS_FOLDER = folder_of(FACTORS)
"""Stands for the factors where the facts of a modality folder are asked for."""

_BOOKKEEPING = ("shards", "fields", "source", "runs", "at", "weights")
"""Facts of a dataset that a model doesn't need."""

Info = Callable[[str], Mapping[str, Any]]
"""Modality folder (or `factors`) → its facts."""

Contents = Callable[[Sequence[str]], Iterable[Sample]]
"""Fields → the training tracks that have any of them."""


class Prediction(NamedTuple):
    """Outputs for a batch of tracks, or of pieces of tracks.

    Attributes:
        track_ids: B ids.
        values: [B, K].
        encoded: encoder name → [B, dim], the input of fusion.
    """

    track_ids: list[str]
    values: Tensor
    encoded: dict[str, Tensor]


class Net(nn.Module):
    """Predicts a track's target (its place in collaborative-filtering space) from its content.

    Examples:
        >>> from coldstart.encoders.attributes import MGP
        >>> net = Net({"mgp": MGP(hidden=(8,))})
        >>> facts = {
        ...     "mgp": {"names": ["joyful", "fast"], "mean": [0.5, 0.5], "std": [1.0, 1.0]},
        ...     "factors": {"factors": 4},
        ... }
        >>> net.build(facts.__getitem__)
        >>> inputs = {"mgp": Modality(torch.rand(3, 2), torch.ones(3, dtype=torch.bool))}
        >>> net(inputs).shape
        torch.Size([3, 4])
    """

    def __init__(
        self,
        encoders: dict[str, Encoder],
        fusion: FusionHead | None = None,
        target: Target | None = None,
        modality_dropout: float = 0.0,
    ) -> None:
        """A net that isn't built yet: `build` makes the layers whose shapes depend on the data.

        Args:
            encoders: name → encoder. Any names; an encoder's `fields` say what it reads.
            fusion: how the encoders' vectors become one; by default `MeanLateFusion` where several
                encoders predict factors, else the talk's `Concat`.
            target: what is predicted, and the loss; `TrackFactors` by default.
            modality_dropout: in training, each modality of a track is removed with this probability
                (but never all), so that the model learns to predict without it.
        """
        super().__init__()
        if not encoders:
            raise InputError("model.encoders is empty: select at least one")
        if not 0 <= modality_dropout < 1:
            raise InputError(f"modality_dropout is from 0 to below 1, not {modality_dropout}")
        self.modality_dropout = modality_dropout
        self.encoders = nn.ModuleDict(encoders)
        self.target = target or TrackFactors()
        several = len(encoders) > 1 and isinstance(self.target, TrackFactors)
        self.fusion = fusion or (MeanLateFusion() if several else Concat())
        self.facts: dict[str, dict[str, Any]] = {}
        self.fitted_on: dict[str, Any] = {}

    @property
    def device(self) -> torch.device:
        """Where its parameters are. (In a trainer, Lightning's property of this name is used.)"""
        return next((p.device for p in self.parameters()), torch.device("cpu"))

    def build(self, info: Info, contents: Contents | None = None) -> None:
        """Make all layers, from the facts of each modality that is read and of the target.

        Args:
            info: modality folder (or `factors`) → its facts.
            contents: training tracks' content, for encoders that learn from it beforehand; without
                it, `info` must hold what they learnt (as a checkpoint's facts do).
        """
        if self.facts:
            return
        for name, encoder in self._encoders():
            learnt = self._learnt(name, encoder, info, contents)
            facts = {**self._fact(info, encoder.fields[0], source(encoder)), **learnt}
            with buildable(f"model.encoders.{name}"):
                encoder.start(_Facts(facts, source(encoder)))
        facts = self._fact(info, self.target.fields[0], source(self.target))
        with buildable("model.target"):
            self.target.build(_Facts(facts, source(self.target)))
        with buildable("model.fusion"):
            self.fusion.build({name: e.dim for name, e in self._encoders()}, self.target.dim)

    def build_like(self, checkpoint: StrPath) -> None:
        """Build from a checkpoint's facts, so that its weights fit, whatever the dataset.

        Raises:
            InputError: the checkpoint is of another architecture.
        """
        stored = read_checkpoint(checkpoint)["coldstart"]
        with _described_in(str(checkpoint)):
            self._same_architecture(stored)
            self.build(self._stored(stored["facts"]))

    def recipe(self) -> dict[str, Any]:
        """All that is needed to rebuild the model but its weights: class names, arguments and
        facts, as plain values.

        Raises:
            InputError: it isn't built yet.
        """
        self._must_be_built()
        return {
            "version": VERSION,
            **self._recipes(),
            "facts": self.facts,
            "fitted_on": self.fitted_on,
        }

    @classmethod
    def rebuild(cls, recipe: Mapping[str, Any], weights: Mapping[str, Tensor], name: str) -> Self:
        """Make the model that a recipe describes, in eval mode on the CPU.

        Args:
            recipe: as returned by `recipe`.
            weights: the state dict.
            name: of the file or folder that both come from, for an error.

        Raises:
            InputError: it describes no model, needs a plugin that isn't installed, or the weights
                don't fit.
        """
        encoders, facts = recipe["encoders"].items(), recipe["facts"]
        with _described_in(name):
            model = cls(
                encoders={key: registry.create("encoders", part) for key, part in encoders},
                fusion=registry.create("fusion", recipe["fusion"]),
                target=registry.create("targets", recipe["target"]),
            )
            model.build(model._stored(facts))
        model.fitted_on = recipe["fitted_on"]
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:
            raise InputError(
                f"{name}: its weights don't fit the model it describes: {error}"
            ) from error
        return model.eval()

    def check(self, info: Info, has: Callable[[str], bool]) -> None:
        """Raise InputError unless a dataset is of the kind that this model was built from.

        Args:
            info: modality folder (or `factors`) → its facts.
            has: whether there is such a folder; the inputs' must exist, the target's need not.
        """
        self._must_be_built()
        for _, encoder in self._encoders():
            folder = folder_of(encoder.fields[0])
            facts = _Facts(info(source(encoder)), source(encoder))
            encoder.check(facts, _Facts(self.facts[folder], folder))
        folder = folder_of(self.target.fields[0])
        if has(folder):
            facts = _Facts(info(folder), folder)
            self.target.check(facts, _Facts(self.facts[folder], folder))

    def encode(self, inputs: Mapping[str, Modality]) -> dict[str, Tensor]:
        """{modality: values and mask} → {modality: [B, dim]}."""
        return {name: encoder(inputs[name]) for name, encoder in self._encoders()}

    def forward(self, inputs: Mapping[str, Modality]) -> Tensor:
        """{modality: values and mask} → [B, K], on the scale that the loss is computed on."""
        return self._fuse(self.encode(inputs), inputs)

    def predict(self, inputs: Mapping[str, Modality]) -> Tensor:
        """{modality: values and mask} → [B, K], on the target's own scale."""
        return self.target.output(self(inputs))

    def describe(self, inputs: Mapping[str, Modality]) -> Tensor:
        """The content itself, without learning, for the simple rivals of a test.

        Returns:
            [B, F]; NaN where a modality is missing.
        """
        parts = [
            encoder.describe(inputs[name].values).where(inputs[name].present[:, None], torch.nan)
            for name, encoder in self._encoders()
        ]
        return torch.cat(parts, dim=1)

    def lend(self) -> Lent:
        """The readers, which are all that the data side needs from the model."""
        return Lent(
            readers={name: (e.fields, e.reader()) for name, e in self._encoders()},
            target=(self.target.fields[0], self.target.reader()),
            streamed=any(encoder.streamed for _, encoder in self._encoders()),
            factor_fields=tuple(e.fields[0] for _, e in self._encoders() if e.reads_factors),
            listening=self.listening,
        )

    @property
    def listening(self) -> Listening:
        """What it knows of listeners beside the factors."""
        return self.fusion.listening

    def build_target(self, about: Mapping[str, Any]) -> None:
        """Build the target for other facts of the factors: a space with more axes, or fewer."""
        folder = folder_of(self.target.fields[0])
        self.facts[folder] = {k: v for k, v in about.items() if k not in _BOOKKEEPING}
        self.target.build(_Facts(self.facts[folder], folder))

    def predict_step(self, batch: Batch) -> Prediction:
        """The outputs of the tracks that have any of the inputs."""
        present = any_present(batch.inputs)
        outputs = self._outputs(batch)
        ids = [track for track, has in zip(batch.track_ids, present.tolist(), strict=True) if has]
        encoded = {name: vectors[present] for name, vectors in outputs.encoded.items()}
        return Prediction(ids, outputs.values[present], encoded)

    def _outputs(self, batch: Batch) -> Prediction:
        encoded = self.encode(batch.inputs)
        values = self.target.output(self._fuse(encoded, batch.inputs))
        return Prediction(batch.track_ids, values, encoded)

    def _fuse(self, encoded: Mapping[str, Tensor], inputs: Mapping[str, Modality]) -> Tensor:
        present = {name: inputs[name].present for name in encoded}
        fused: Tensor = self.fusion(encoded, present)
        return fused

    def _must_be_built(self) -> None:
        if not self.facts:
            raise InputError(
                "this model has no layers yet, for their shapes depend on the data: fit it "
                "(`trainer.fit(model, coldstart.ColdStartData(...))`), or load a fitted one"
            )

    def _encoders(self) -> list[tuple[str, Encoder]]:
        return [
            (name, module) for name, module in self.encoders.items() if isinstance(module, Encoder)
        ]

    def _fact(self, info: Info, field: str, folder: str) -> dict[str, Any]:
        """Facts of a folder; kept under that of the field."""
        facts = {k: v for k, v in info(folder).items() if k not in _BOOKKEEPING}
        return self.facts.setdefault(folder_of(field), facts)

    def _stored(self, facts: Mapping[str, Mapping[str, Any]]) -> Info:
        """A checkpoint's facts. Those of the factors may lie under an encoder's folder alone."""
        stored = dict(facts)
        for _, encoder in self._encoders():
            if encoder.reads_factors:
                stored.setdefault(FACTORS_FOLDER, facts[folder_of(encoder.fields[0])])
        return stored.__getitem__

    def _learnt(
        self, name: str, encoder: Encoder, info: Info, contents: Contents | None
    ) -> Mapping[str, Any]:
        """What an encoder learns from the training tracks' content, in addition to the facts."""
        if type(encoder).learn is Encoder.learn:
            return {}
        key = f"learnt/{name}"
        learnt = encoder.learn(contents(encoder.fields)) if contents else dict(info(key))
        return self.facts.setdefault(key, learnt)

    def _recipes(self) -> dict[str, Any]:
        return {
            "encoders": {name: encoder.recipe() for name, encoder in self._encoders()},
            "fusion": self.fusion.recipe(),
            "target": self.target.recipe(),
        }

    def _same_architecture(self, stored: Mapping[str, Any]) -> None:
        for part, recipe in self._recipes().items():
            kind = registry.KIND_OF[part]
            if self._fixed(recipe) != self._fixed(registry.completed(kind, stored[part])):
                raise InputError(
                    f"the checkpoint is of another architecture: its {part} is {stored[part]}, "
                    f"the configuration's is {recipe}"
                )

    def _fixed(self, recipe: Mapping[str, Any]) -> Any:
        """A recipe without the arguments that may differ, as they don't change any weight."""
        fixed = _plain(recipe)
        for name, encoder in self._encoders():
            if name in fixed:
                for argument in encoder.may_differ:
                    fixed[name]["init_args"].pop(argument, None)
        return fixed


class _Facts(dict[str, Any]):
    """Facts of a folder; one that is asked for, but isn't there, is the user's error."""

    def __init__(self, facts: Mapping[str, Any], folder: str) -> None:
        super().__init__(facts)
        self.folder = folder

    def __missing__(self, key: str) -> Any:
        raise InputError(
            f"what is known of '{self.folder}' (in dataset.json, factors.json or the model) lacks "
            f"'{key}', which the model needs; make '{self.folder}' again"
        )


@contextmanager
def _described_in(name: str) -> Iterator[None]:
    """Make a model by the description in a file; if that can't be done, InputError names the file.

    The parts are plugins, so a damaged description can fail in any way.
    """
    try:
        yield
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise InputError(
            f"{name}: describes no model that can be made ({reason}); copy it again, or fit anew"
        ) from error


def source(part: Encoder | Target) -> str:
    """The folder that a part's facts come from: of its field, or the factors."""
    reads_factors = isinstance(part, Encoder) and part.reads_factors
    return FACTORS_FOLDER if reads_factors else folder_of(part.fields[0])


def any_present(inputs: Mapping[str, Modality]) -> Tensor:
    """Which tracks have any of the inputs. → [B] bool."""
    return torch.stack([modality.present for modality in inputs.values()]).any(0)


def with_modality_dropout(inputs: Mapping[str, Modality], share: float) -> dict[str, Modality]:
    """Remove each modality of each track with this probability, but never all that it has."""
    if share == 0:
        return dict(inputs)
    before = torch.stack([modality.present for modality in inputs.values()])
    after = before & (torch.rand(before.shape, device=before.device) >= share)
    after = torch.where(after.any(0), after, before)
    return {
        name: modality._replace(present=after[i])
        for i, (name, modality) in enumerate(inputs.items())
    }


def load(path: StrPath, cls: type[AnyNet]) -> AnyNet:
    """Rebuild a model from a checkpoint, in eval mode on the CPU; no dataset is needed.

    Args:
        path: a checkpoint, or a run's folder, which stands for its best checkpoint.
        cls: the class of the model.

    Raises:
        InputError: unreadable, another version, or it needs a plugin that isn't installed.
    """
    path = best_checkpoint(path) if Path(path).is_dir() else Path(path)
    checkpoint = read_checkpoint(path)
    return cls.rebuild(checkpoint["coldstart"], checkpoint["state_dict"], str(path))


def _plain(value: Any) -> Any:
    """Tuples as lists, since both mean the same architecture."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
