"""A fitted model as a folder to be shared, here or on the Hugging Face hub.

    model.safetensors      the weights
    config.json            the recipe that rebuilds the model: class names, arguments, facts (see
                           decision 2); and a hash of the weights
    README.md              the model card
    ensemble.json          how a run joins content and plays, if it has chosen that

Nothing in it is pickled. The hub's library is the extra `coldstart[hub]`.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save

from coldstart.errors import InputError
from coldstart.files import StrPath, atomic
from coldstart.forms.content import json_in
from coldstart.model.checkpoint import check_weights, checked_recipe, weights_id
from coldstart.model.net import AnyNet, Net
from coldstart.runs.card import card
from coldstart.runs.ensemble import FILE, read_ensemble, write_ensemble

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"


def save_pretrained(
    model: Net, folder: StrPath, results: StrPath | Mapping[str, Any] | None = None
) -> Path:
    """Write a folder that `from_pretrained` reads: weights, configuration and a model card.

    Files of an earlier save are replaced.

    Args:
        model: a built one.
        folder: to write to; created if it doesn't exist.
        results: of a test of this model, for the card: as `coldstart.test` returns them, a
            results.json, or the folder of the run. Without them the card says that there are none.

    Returns:
        The folder.

    Raises:
        InputError: the model isn't built or has values that JSON doesn't allow, or the results
            are unreadable or of another model.
    """
    # Only the name: the card may be shown to others, to whom a local path means nothing.
    return _save(model, folder, results, Path(folder).name)


def push_to_hub(
    model: Net,
    repo_id: str,
    results: StrPath | Mapping[str, Any] | None = None,
    *,
    private: bool | None = None,
    message: str = "A coldstart model",
) -> str:
    """Save as `save_pretrained` does, and upload to the Hugging Face hub.

    Needs `coldstart[hub]`, and an account: `hf auth login`, or the environment variable HF_TOKEN.

    Args:
        model: a built one.
        repo_id: `owner/name`; created if it doesn't exist. Its files of these names are replaced.
        results: as in `save_pretrained`.
        private: whether a new repository is private; by default as the account is set up.
        message: of the commit.

    Returns:
        The repository's address.

    Raises:
        InputError: as in `save_pretrained`, `coldstart[hub]` isn't installed, or the hub refuses.
    """
    hub = _hub()
    if repo_id.count("/") != 1:
        raise InputError(f"{repo_id!r} is no repository of the hub: it has to be owner/name")
    with tempfile.TemporaryDirectory() as folder:
        _save(model, folder, results, repo_id)
        try:
            address = hub.HfApi().create_repo(repo_id, private=private, exist_ok=True)
            hub.HfApi().upload_folder(repo_id=repo_id, folder_path=folder, commit_message=message)
        except Exception as error:  # of many kinds: the hub's, and its HTTP library's
            raise InputError(
                f"{repo_id}: the hub didn't take it ({error}); check the name, the connection and "
                "the login (`hf auth login`)"
            ) from error
    return str(address)


def from_pretrained(cls: type[AnyNet], source: StrPath, *, revision: str | None = None) -> AnyNet:
    """Rebuild a model that was saved or pushed, in eval mode on the CPU; nothing is unpickled.

    Args:
        cls: the model's class.
        source: a local folder, or else a repository of the hub, `owner/name`, of which two files
            are downloaded (into the cache of the hub's library).
        revision: branch, tag or commit of the repository.

    Raises:
        InputError: there is neither; files are missing, damaged or of another version; it needs
            a plugin that isn't installed; or (for the hub) `coldstart[hub]` isn't installed.
    """
    folder = Path(source)
    if not folder.is_dir():
        folder = _downloaded(str(source), revision)
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise InputError(
                f"{source}: no saved model here ({name} is missing); `model.save_pretrained` makes "
                "one, and coldstart.load reads checkpoints and runs"
            )
    remedy = "save it again, or copy it again"
    recipe = checked_recipe(
        json_in(folder / CONFIG, remedy), f"{source}: not a model", str(folder / CONFIG)
    )
    try:
        weights = load_file(folder / WEIGHTS)
    except (ValueError, LookupError, OSError, SafetensorError) as error:
        raise InputError(f"{folder / WEIGHTS}: damaged ({error}); {remedy}") from error
    check_weights(weights, str(folder / WEIGHTS))
    model = cls.rebuild(recipe, weights, str(source))
    if recipe.get("weights", weights_id(model)) != weights_id(model):
        raise InputError(f"{folder / WEIGHTS}: damaged, or of another model; {remedy}")
    return model


def _save(
    model: Net, folder: StrPath, results: StrPath | Mapping[str, Any] | None, name: str
) -> Path:
    recipe = {**model.recipe(), "weights": weights_id(model)}
    text = card(model, results, name)
    # Copies, for safetensors refuses tensors that share their memory.
    weights = {key: value.cpu().contiguous().clone() for key, value in model.state_dict().items()}
    folder = Path(folder)
    with atomic(folder / CONFIG) as temporary:
        temporary.write_text(_as_json(recipe), encoding="utf-8")
    with atomic(folder / WEIGHTS) as temporary:
        # `save_file` would write beside it first, under a name that nobody can tell as ours, and
        # let nobody else read it.
        temporary.write_bytes(save(weights, metadata={"format": "pt"}))
    with atomic(folder / CARD) as temporary:
        temporary.write_text(text, encoding="utf-8")
    if results is not None and not isinstance(results, Mapping) and Path(results).is_dir():
        ensemble = read_ensemble(results)
        if ensemble is not None:
            write_ensemble(folder, ensemble)
    return folder


def _as_json(recipe: Mapping[str, Any]) -> str:
    about = {**recipe, "made_with": f"coldstart {version('coldstart')}"}
    try:
        return json.dumps(about, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise InputError(
            f"this model's arguments or facts can't be kept as JSON ({error}); a plugin's must be "
            "numbers, text, lists, and dicts with text as keys"
        ) from error


def _downloaded(repo_id: str, revision: str | None) -> Path:
    hub = _hub(prefix=f"{repo_id}: there is no such folder here, and ")
    try:
        files = [CONFIG, WEIGHTS, FILE]
        return Path(hub.snapshot_download(repo_id, revision=revision, allow_patterns=files))
    except Exception as error:  # as above
        raise InputError(
            f"{repo_id}: there is no such folder here, and the hub gave no such model ({error})"
        ) from error


def _hub(prefix: str = "") -> ModuleType:
    """The library; an error message begins with the prefix."""
    try:
        import huggingface_hub
    except ImportError as error:
        raise InputError(
            f"{prefix}the hub needs the library huggingface_hub: pip install 'coldstart[hub]'"
        ) from error
    return huggingface_hub
