"""ColdStart, the LightningModule: any encoders, one fusion head, one target."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torchmetrics import MeanMetric

from coldstart import notebook, pretrained, registry, solved
from coldstart.checkpoints import VERSION, best_checkpoint, read_checkpoint, recipe_in
from coldstart.encoders.base import Encoder, Modality
from coldstart.errors import InputError
from coldstart.files import StrPath
from coldstart.fusion.base import FusionHead
from coldstart.fusion.concat import Concat
from coldstart.fusion.mean import MeanLateFusion
from coldstart.sample import Sample
from coldstart.shards import folder_of
from coldstart.streams import Batch, Lent
from coldstart.targets.base import Target
from coldstart.targets.track_factors import TrackFactors

_BOOKKEEPING = ("shards", "fields", "source", "runs")
"""Facts of a dataset that a model has no use for."""

Info = Callable[[str], Mapping[str, Any]]
"""Modality folder (or `factors`) → its facts."""

Contents = Callable[[Sequence[str]], Iterable[Sample]]
"""Fields → the training tracks that have any of them."""


class Prediction(NamedTuple):
    """Outputs for a batch of tracks, or of pieces of tracks.

    Attributes:
        track_ids: B ids.
        values: [B, K].
        encoded: encoder name → [B, dim], what fusion got.
    """

    track_ids: list[str]
    values: Tensor
    encoded: dict[str, Tensor]


class ColdStart(LightningModule):
    """Predicts a track's target (its place in collaborative-filtering space) from its content.

    Examples:
        >>> from coldstart.encoders.attributes import MGP
        >>> model = ColdStart({"mgp": MGP(hidden=(8,))})
        >>> facts = {
        ...     "mgp": {"names": ["joyful", "fast"], "mean": [0.5, 0.5], "std": [1.0, 1.0]},
        ...     "factors": {"factors": 4},
        ... }
        >>> model.build(facts.__getitem__)
        >>> inputs = {"mgp": Modality(torch.rand(3, 2), torch.ones(3, dtype=torch.bool))}
        >>> model(inputs).shape
        torch.Size([3, 4])
    """

    def __init__(
        self,
        encoders: dict[str, Encoder],
        fusion: FusionHead | None = None,
        target: Target | None = None,
        modality_dropout: float = 0.0,
        compile: bool = False,
        channels_last: bool = False,
    ) -> None:
        """A model that isn't built yet: layers whose shapes depend on the data come with `build`.

        Args:
            encoders: name → encoder. The names are yours; an encoder's `fields` say what it reads.
            fusion: how the encoders' vectors become one; by default `MeanLateFusion` where several
                predict factors, else the talk's `Concat`.
            target: what is predicted, and the loss; `TrackFactors` by default.
            modality_dropout: while training, each modality of a track is taken away with this
                probability (but never all), so that the model learns to do without.
            compile: let `torch.compile` compile encoders and fusion head for a fit. It needs a C++
                compiler, and a minute or more beforehand; checkpoints are the same.
            channels_last: keep images and two-dimensional filters with their channels last in
                memory while fitting; checkpoints are the same.
        """
        super().__init__()
        if not encoders:
            raise InputError("model.encoders is empty: select at least one")
        if not 0 <= modality_dropout < 1:
            raise InputError(f"modality_dropout is from 0 to below 1, not {modality_dropout}")
        self.modality_dropout = modality_dropout
        self.compiled, self.channels_last = compile, channels_last
        self.encoders = nn.ModuleDict(encoders)
        self.target = target or TrackFactors()
        several = len(encoders) > 1 and isinstance(self.target, TrackFactors)
        self.fusion = fusion or (MeanLateFusion() if several else Concat())
        self.facts: dict[str, dict[str, Any]] = {}
        self.fitted_on: dict[str, Any] = {}
        self.best_epoch = 0
        self.val_loss = MeanMetric()

    def build(self, info: Info, contents: Contents | None = None) -> None:
        """Make all layers, from the facts of each modality that is read and of the target.

        Args:
            info: modality folder (or `factors`) → its facts.
            contents: training tracks' content, for encoders that learn from it beforehand; without
                it, `info` must know what they learnt (as a checkpoint's facts do).
        """
        if self.facts:
            return
        for name, encoder in self._encoders():
            learnt = self._learnt(name, encoder, info, contents)
            encoder.start({**self._fact(info, encoder.fields[0]), **learnt})
        self.target.build(self._fact(info, self.target.fields[0]))
        self.fusion.build({name: e.dim for name, e in self._encoders()}, self.target.dim)

    def build_like(self, checkpoint: StrPath) -> None:
        """Build from a checkpoint's facts: whatever dataset comes, its weights will fit.

        Raises:
            InputError: the checkpoint is of another architecture.
        """
        stored = read_checkpoint(checkpoint)["coldstart"]
        self._same_architecture(stored)
        self.build(stored["facts"].__getitem__)

    def recipe(self) -> dict[str, Any]:
        """What rebuilds the model, without its weights: class names, arguments and facts, all
        plain values.

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
    def rebuild(
        cls, recipe: Mapping[str, Any], weights: Mapping[str, Tensor], name: str
    ) -> ColdStart:
        """Make the model that a recipe describes, in eval mode on the CPU.

        Args:
            recipe: as `recipe` gave it.
            weights: the state dict.
            name: where both come from, for an error.

        Raises:
            InputError: it needs a plugin that isn't installed, or the weights don't fit.
        """
        encoders, facts = recipe["encoders"].items(), recipe["facts"]
        model = cls(
            encoders={key: registry.create("encoders", part) for key, part in encoders},
            fusion=registry.create("fusion", recipe["fusion"]),
            target=registry.create("targets", recipe["target"]),
        )
        model.build(facts.__getitem__)
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
            has: whether there is such a folder; the truth need not be there, the inputs must.
        """
        self._must_be_built()
        for _, encoder in self._encoders():
            folder = folder_of(encoder.fields[0])
            encoder.check(info(folder), self.facts[folder])
        folder = folder_of(self.target.fields[0])
        if has(folder):
            self.target.check(info(folder), self.facts[folder])

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
        """[B, F]: the content itself, without learning, for the simple rivals of a test.

        NaN where a modality is missing.
        """
        described = [
            encoder.describe(inputs[name].values).where(inputs[name].present[:, None], torch.nan)
            for name, encoder in self._encoders()
        ]
        return torch.cat(described, dim=1)

    def lend(self) -> Lent:
        """What the data side needs: readers, and nothing else of the model."""
        return Lent(
            readers={name: (e.fields, e.reader()) for name, e in self._encoders()},
            target=(self.target.fields[0], self.target.reader()),
            streamed=any(encoder.streamed for _, encoder in self._encoders()),
        )

    # In Python and notebooks: these functions are the model's methods too.

    embed = notebook.embed
    recommend = notebook.recommend
    save_pretrained = pretrained.save_pretrained
    push_to_hub = pretrained.push_to_hub
    from_pretrained = classmethod(pretrained.from_pretrained)

    # Lightning's hooks

    def configure_model(self) -> None:
        """Build from the dataset, unless a checkpoint's facts have built it; check the dataset."""
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        if data is None:
            raise InputError("give the trainer data: trainer.fit(model, ColdStartData(...))")
        self.build(data.info, data.training_samples)
        self.check(data.info, data.has)
        if data.factors is not None and self.trainer.state.fn in ("fit", "validate"):
            self.target.take(data.factors)
        if self.trainer.state.fn == "fit":
            self.fitted_on = {"folds": data.folds, "fold": data.fold}
            self._speed_up()

    def _speed_up(self) -> None:
        """What was asked for of it; neither touches a name or a value in a state dict."""
        if self.channels_last:
            self.to(memory_format=torch.channels_last)
        if self.compiled:
            for part in (*self.encoders.values(), self.fusion):
                part.compile()  # in place, where `torch.compile(part)` would rename its weights

    def on_fit_start(self) -> None:
        """DDP must not broadcast buffers at each forward: validation isn't of one length on all
        ranks, so some would wait forever. `on_validation_epoch_start` does it instead.
        """
        if isinstance(self.trainer.model, DistributedDataParallel):
            self.trainer.model.broadcast_buffers = False

    def on_validation_epoch_start(self) -> None:
        """Every rank measures with rank 0's running statistics, which are those that are saved."""
        if self.trainer.world_size > 1:
            saved = self.state_dict().keys()
            for name, buffer in self.named_buffers():
                if name in saved:
                    torch.distributed.broadcast(buffer, 0)

    def on_train_epoch_start(self) -> None:
        """A head that is solved, not trained, is solved before its only epoch."""
        if self.fusion.closed_form and self.trainer.current_epoch == 0:
            solved.solve(self, self.trainer.datamodule)  # type: ignore[attr-defined]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Mean loss of a batch."""
        if self.fusion.closed_form:  # no step moves anything, but steps are what Lightning counts
            return 0.0 * torch.stack([p.sum() for p in self.parameters()]).sum()
        inputs = with_modality_dropout(batch.inputs, self.modality_dropout)
        made = self(inputs)
        loss = self.target.objective(made, batch.target.values, batch.track_ids).mean()
        if self._is_loss_wanted(batch_idx):
            self.log("train_loss", loss, prog_bar=True, batch_size=len(batch.track_ids))
        return loss

    def _is_loss_wanted(self, batch_idx: int) -> bool:
        """When loggers take it; for the progress bar at every tenth step and at an epoch's ends.

        Lightning's bookkeeping of one number takes 5 % of a small net's step. No clock decides: a
        fit that goes on must log what it would have logged.
        """
        trainer: Any = self.trainer
        logged = (trainer.global_step + 1) % max(1, trainer.log_every_n_steps) == 0
        return bool(logged or trainer.is_last_batch or batch_idx % 10 == 0)

    def validation_step(self, batch: Batch) -> Prediction:  # type: ignore[override]
        """Collect the loss; the outputs are for callbacks, such as `RankingOnValidation`."""
        made = self(batch.inputs)
        self.val_loss.update(self.target.objective(made, batch.target.values, batch.track_ids))
        return Prediction(batch.track_ids, self.target.output(made), {})

    def on_validation_epoch_end(self) -> None:
        """Reduce the loss over ranks once; a rank whose part was empty must take part too.

        What is solved is finished when it has been measured: more epochs would change nothing.
        """
        self.log("val_loss", self.val_loss.compute(), prog_bar=True)
        self.val_loss.reset()
        if self.fusion.closed_form and not self.trainer.sanity_checking:
            self.trainer.should_stop = True

    def test_step(self, batch: Batch) -> Prediction:  # type: ignore[override]
        """The outputs; `results.TestReport` makes figures of them.

        A track of which nothing is known gets zeros: no opinion, instead of a confident wrong one.
        """
        made = self._outputs(batch)
        return made._replace(values=made.values * known(batch.inputs)[:, None])

    def predict_step(self, batch: Batch) -> Prediction:
        """The outputs, without tracks of which nothing is known: they have none of the inputs."""
        there = known(batch.inputs)
        everything = self._outputs(batch)
        ids = [track for track, has in zip(batch.track_ids, there.tolist(), strict=True) if has]
        encoded = {name: vectors[there] for name, vectors in everything.encoded.items()}
        return Prediction(ids, everything.values[there], encoded)

    def _outputs(self, batch: Batch) -> Prediction:
        encoded = self.encode(batch.inputs)
        values = self.target.output(self._fuse(encoded, batch.inputs))
        return Prediction(batch.track_ids, values, encoded)

    def _fuse(self, encoded: Mapping[str, Tensor], inputs: Mapping[str, Modality]) -> Tensor:
        present = {name: inputs[name].present for name in encoded}
        fused: Tensor = self.fusion(encoded, present)
        return fused

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam with its defaults, as in the talk; `--optimizer` on the command line replaces it.

        On a CPU the fused one, the same sums in one pass: a tenth of a small net's step less.
        """
        return torch.optim.Adam(self.parameters(), fused=self.device.type == "cpu" or None)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what rebuilds the model."""
        checkpoint["coldstart"] = self.recipe()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse another architecture's weights, with a message that people understand."""
        stored = recipe_in(checkpoint, "this checkpoint")
        self._same_architecture(stored)
        self.fitted_on = stored["fitted_on"]
        self.best_epoch = checkpoint["epoch"] + 1

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

    def _fact(self, info: Info, field: str) -> dict[str, Any]:
        folder = folder_of(field)
        facts = {k: v for k, v in info(folder).items() if k not in _BOOKKEEPING}
        return self.facts.setdefault(folder, facts)

    def _learnt(
        self, name: str, encoder: Encoder, info: Info, contents: Contents | None
    ) -> Mapping[str, Any]:
        """What an encoder has learnt of the training tracks' content, beside the facts."""
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
        for part, mine in self._recipes().items():
            kind = registry.KIND_OF[part]
            if self._fixed(mine) != self._fixed(registry.completed(kind, stored[part])):
                raise InputError(
                    f"the checkpoint is of another architecture: its {part} is {stored[part]}, "
                    f"the configuration's is {mine}"
                )

    def _fixed(self, recipe: Mapping[str, Any]) -> Any:
        """A recipe without the arguments that touch no weight: they may differ."""
        fixed = _plain(recipe)
        for name, encoder in self._encoders():
            if name in fixed:
                for argument in encoder.may_differ:
                    fixed[name]["init_args"].pop(argument, None)
        return fixed


def known(inputs: Mapping[str, Modality]) -> Tensor:
    """Which tracks have any of the inputs. → [B] bool."""
    return torch.stack([modality.present for modality in inputs.values()]).any(0)


def with_modality_dropout(inputs: Mapping[str, Modality], share: float) -> dict[str, Modality]:
    """Take each modality of each track away with this probability, but never all it has."""
    if share == 0:
        return dict(inputs)
    there = torch.stack([modality.present for modality in inputs.values()])
    kept = there & (torch.rand(there.shape, device=there.device) >= share)
    kept = torch.where(kept.any(0), kept, there)
    return {
        name: modality._replace(present=kept[i])
        for i, (name, modality) in enumerate(inputs.items())
    }


def load(path: StrPath) -> ColdStart:
    """Rebuild a model from a checkpoint, in eval mode on the CPU; no dataset is needed.

    Args:
        path: a checkpoint, whoever made it, or a run's folder, which stands for its best one.

    Raises:
        InputError: unreadable, another version, or it needs a plugin that isn't installed.
    """
    path = best_checkpoint(path) if Path(path).is_dir() else Path(path)
    checkpoint = read_checkpoint(path)
    return ColdStart.rebuild(checkpoint["coldstart"], checkpoint["state_dict"], str(path))


def _plain(value: Any) -> Any:
    """Tuples and lists are the same architecture."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
