"""`ColdStart`, the LightningModule: a `Net`, and what a trainer asks of it."""

from __future__ import annotations

from typing import Any, Self

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torchmetrics import MeanMetric

from coldstart.data.batch import Batch
from coldstart.encoders.base import Encoder
from coldstart.errors import InputError
from coldstart.files import StrPath
from coldstart.fusion.base import FusionHead
from coldstart.model import net
from coldstart.model.checkpoint import recipe_in
from coldstart.model.net import Net, Prediction, any_present, with_modality_dropout
from coldstart.retrieval import model_methods
from coldstart.runs import pretrained
from coldstart.targets.base import Target
from coldstart.training import solve


class ColdStart(Net, LightningModule):
    """A `Net` that Lightning trains, and the methods for Python and notebooks.

    Examples:
        >>> from coldstart.encoders.attributes import MGP
        >>> model = ColdStart({"mgp": MGP(hidden=(8,))})
        >>> model.build({"mgp": {"names": ["fast"], "mean": [0.5], "std": [1.0]},
        ...              "factors": {"factors": 4}}.__getitem__)
        >>> model.target.dim
        4
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
        super().__init__(encoders, fusion, target, modality_dropout)
        self.compiled, self.channels_last = compile, channels_last
        self.best_epoch = 0
        self.val_loss = MeanMetric()

    # In Python and notebooks: these functions are the model's methods too.

    embed = model_methods.embed
    recommend = model_methods.recommend
    save_pretrained = pretrained.save_pretrained
    push_to_hub = pretrained.push_to_hub

    @classmethod
    def from_pretrained(cls, source: StrPath, *, revision: str | None = None) -> Self:
        """Rebuild a model that was saved or pushed, in eval mode on the CPU; nothing is unpickled.

        Args:
            source: a folder here, or else a repository of the hub, `owner/name`.
            revision: branch, tag or commit of the repository.

        Raises:
            InputError: as `coldstart.runs.pretrained.from_pretrained` says.
        """
        return pretrained.from_pretrained(cls, source, revision=revision)

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
        """A head that is solved, not trained, is solved now, unless a checkpoint has it solved:
        before there are loaders, for the space that tracks are placed in may get more axes.

        DDP must not broadcast buffers at each forward: validation isn't of one length on all
        ranks, so some would wait forever. `on_validation_epoch_start` does it instead.
        """
        first = self.trainer.current_epoch == 0 and self.trainer.ckpt_path is None
        if self.fusion.closed_form and first:
            solve.solve(self, self.trainer.datamodule)  # type: ignore[attr-defined]
        if isinstance(self.trainer.model, DistributedDataParallel):
            self.trainer.model.broadcast_buffers = False

    def on_validation_epoch_start(self) -> None:
        """Every rank measures with rank 0's running statistics, which are those that are saved."""
        if self.trainer.world_size > 1:
            saved = self.state_dict().keys()
            for name, buffer in self.named_buffers():
                if name in saved:
                    torch.distributed.broadcast(buffer, 0)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Mean loss of a batch."""
        if self.fusion.closed_form:  # no step moves anything, but steps are what Lightning counts
            return 0.0 * torch.stack([p.sum() for p in self.parameters()]).sum()
        inputs = with_modality_dropout(batch.inputs, self.modality_dropout)
        outputs = self(inputs)
        loss = self.target.objective(outputs, batch.target.values, batch.track_ids).mean()
        if self._is_loss_logged(batch_idx):
            self.log("train_loss", loss, prog_bar=True, batch_size=len(batch.track_ids))
        return loss

    def _is_loss_logged(self, batch_idx: int) -> bool:
        """When loggers take it; for the progress bar at every tenth step and at an epoch's ends.

        Lightning's bookkeeping of one number takes 5 % of a small net's step. No clock decides: a
        resumed fit must log what an uninterrupted one logs.
        """
        trainer: Any = self.trainer
        logged = (trainer.global_step + 1) % max(1, trainer.log_every_n_steps) == 0
        return bool(logged or trainer.is_last_batch or batch_idx % 10 == 0)

    def validation_step(self, batch: Batch) -> Prediction:  # type: ignore[override]
        """Collect the loss; the outputs are for callbacks, such as `RankingOnValidation`."""
        outputs = self(batch.inputs)
        self.val_loss.update(self.target.objective(outputs, batch.target.values, batch.track_ids))
        return Prediction(batch.track_ids, self.target.output(outputs), {})

    def on_validation_epoch_end(self) -> None:
        """Reduce the loss over ranks once; a rank whose part was empty must take part too.

        What is solved is finished when it has been measured: more epochs would change nothing.
        """
        self.log("val_loss", self.val_loss.compute(), prog_bar=True)
        self.val_loss.reset()
        if self.fusion.closed_form and not self.trainer.sanity_checking:
            self.trainer.should_stop = True

    def test_step(self, batch: Batch) -> Prediction:  # type: ignore[override]
        """The outputs; `reports.TestReport` makes figures of them.

        A track of which nothing is known gets no opinion, instead of a confident wrong one.
        """
        outputs = self._outputs(batch)
        known = any_present(batch.inputs)[:, None]
        unknown = self.target.unknown.to(outputs.values)
        return outputs._replace(values=torch.where(known, outputs.values, unknown))

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


def load(path: StrPath) -> ColdStart:
    """Rebuild a model from a checkpoint, in eval mode on the CPU; no dataset is needed.

    Args:
        path: a checkpoint, whoever made it, or a run's folder, which stands for its best one.

    Raises:
        InputError: unreadable, another version, or it needs a plugin that isn't installed.
    """
    return net.load(path, ColdStart)
