"""Jobs: fits with their tests, and other functions, each of which fills a folder of its own."""

from __future__ import annotations

import json
import logging
import pkgutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from coldstart.files import atomic, fingerprint, write_json

if TYPE_CHECKING:  # heavy: `coldstart ablate --help` must be quick
    from coldstart.evaluation.results import Results

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """Something that fills a folder: a `FitJob` or a `FunctionJob`.

    A subclass says what decides the outcome, and does the work.

    Attributes:
        folder: what it fills; its log lies beside it.
        about: what tables and messages say of it: input, step, seed, …
    """

    folder: Path
    about: dict[str, Any]

    @property
    def key(self) -> str:
        """Fingerprint of everything that decides the outcome."""
        raise NotImplementedError

    def run(self) -> None:
        """Fill the folder, or continue an earlier call that was interrupted."""
        raise NotImplementedError

    @property
    def finished_key(self) -> str | None:
        """Key of the job that has finished in this folder."""
        note = self.folder / "job.json"
        key: str | None = json.loads(note.read_bytes())["key"] if note.is_file() else None
        return key

    @property
    def finished(self) -> bool:
        """Whether this very job has finished, with the same settings."""
        return self.finished_key == self.key

    def mark_finished(self) -> None:
        """Write down that it has finished."""
        write_json(self.folder / "job.json", {"key": self.key, **self.about})


@dataclass(frozen=True)
class FitJob(Job):
    """One run: a fit, then its tests.

    Attributes:
        config: the whole configuration, as in a YAML file; it lies beside the run's folder.
        flags: of `fit`, beside the configuration.
        tests: suffix of the results' name → flags of that `test`.
        predicts: whether it also runs `predict`, as a listener does.
    """

    config: dict[str, Any]
    flags: list[str]
    tests: dict[str, list[str]]
    predicts: bool = False

    @property
    def key(self) -> str:
        """Fingerprint of the fit and its tests."""
        return fingerprint(self.config, self.flags, self.tests)

    def results(self, suffix: str = "") -> Results:
        """What the test with this suffix has measured."""
        from coldstart.evaluation.results import read_results

        return read_results(self.folder / f"results{suffix}.json")

    @property
    def fit_report(self) -> dict[str, Any]:
        """How the fit went: fit.json."""
        report: dict[str, Any] = json.loads((self.folder / "fit.json").read_bytes())
        return report

    def run(self) -> None:
        """Fit and test; an interrupted fit continues from its last checkpoint."""
        from coldstart.runs.run import begin
        from coldstart.training.lightning_cli import lightning_cli

        there = (self.folder / "begun").is_file()
        resume_flags = begin(self.folder, self.key)
        if there and not resume_flags:
            log.info(f"{self.folder}: a fit was killed here before it could be resumed; begun anew")
        config = Path(f"{self.folder}.yaml")
        with atomic(config) as temporary:
            temporary.write_text(yaml.safe_dump(self.config, sort_keys=False), encoding="utf-8")
        run = ["--run", str(self.folder)]
        lightning_cli("fit", ["--config", str(config), *run, *self.flags, *resume_flags])
        named = f"{self.config} {self.flags}"  # the run was fitted with it just now
        for suffix, flags in self.tests.items():
            lightning_cli("test", [*run, "--results", f"results{suffix}", *flags], named=named)
        if self.predicts:
            lightning_cli("predict", run, named=named)
        self.mark_finished()


@dataclass(frozen=True)
class FunctionJob(Job):
    """A function that fills a folder, and itself continues what an earlier call has begun.

    Attributes:
        function: `module:name`; it gets `out`, the folder, beside its arguments.
        arguments: plain values.
    """

    function: str
    arguments: dict[str, Any]

    @property
    def key(self) -> str:
        """Fingerprint of the function's name and its arguments."""
        return fingerprint(self.function, self.arguments)

    def run(self) -> None:
        """Call the function."""
        pkgutil.resolve_name(self.function)(**self.arguments, out=self.folder)
        self.mark_finished()
