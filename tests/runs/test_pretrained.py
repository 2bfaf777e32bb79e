"""A model in a folder or on the hub: saved, shared and reloaded."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from helpers import PythonRun, World, new_trainer
from huggingface_hub import HfApi, RepoUrl

import coldstart as cs


def test_a_saved_model_reloads_exactly(python_run: PythonRun, tmp_path: Path) -> None:
    assert (
        python_run.model.save_pretrained(tmp_path / "m", results=python_run.run) == tmp_path / "m"
    )
    files = {path.name for path in (tmp_path / "m").iterdir()}
    assert files == {"README.md", "config.json", "model.safetensors"}
    modes = {path.stat().st_mode for path in (tmp_path / "m").iterdir()}
    assert len(modes) == 1  # whoever may read the card may read the weights
    again = cs.ColdStart.from_pretrained(tmp_path / "m")
    assert not again.training
    assert again.recipe() == json.loads(json.dumps(python_run.model.recipe()))
    shards = python_run.world.shards
    assert again.embed(shards).values.equal(python_run.model.embed(shards).values)
    again.save_pretrained(tmp_path / "m")  # over the first, and a model that was itself reloaded
    twice = cs.ColdStart.from_pretrained(tmp_path / "m")
    assert twice.embed(shards).values.equal(again.embed(shards).values)


def test_a_listener_is_saved_with_its_correlations(tiny_world: World, tmp_path: Path) -> None:
    model = cs.ColdStart({"genres": cs.Genres(hidden=(4,))}, target=cs.Attributes())
    trainer = new_trainer(tmp_path, callbacks=[cs.RunCheckpoint(), cs.TestReport()])
    data = cs.ColdStartData(str(tiny_world.shards), factors=None)
    trainer.fit(model, data)
    trainer.test(model, data, ckpt_path="best")
    model.save_pretrained(tmp_path / "m", results=tmp_path)
    again = cs.ColdStart.from_pretrained(tmp_path / "m")
    assert isinstance(again.target, cs.Attributes)
    assert f"| {again.target.names[0]} " in (tmp_path / "m" / "README.md").read_text()
    with pytest.raises(cs.InputError, match="doesn't predict factors"):
        again.recommend(tiny_world.shards, like="t000000")


def test_what_json_cannot_keep_is_refused(python_run: PythonRun, tmp_path: Path) -> None:
    model = cs.load(python_run.run)
    model.facts["learnt/genres"] = {"weights": {1, 2}}
    with pytest.raises(cs.InputError, match="can't be kept as JSON"):
        model.save_pretrained(tmp_path / "m")
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_damaged_folder_is_explained(python_run: PythonRun, tmp_path: Path) -> None:
    good = python_run.model.save_pretrained(tmp_path / "good")
    config = json.loads((good / "config.json").read_text())
    no_plugin = config | {"fusion": {"class": "Nothing", "init_args": {}}}
    for number, (name, content, message) in enumerate(
        [
            ("config.json", None, r"config\.json is missing"),
            ("model.safetensors", None, r"model\.safetensors is missing"),
            ("model.safetensors", b"nonsense", "damaged"),
            ("config.json", b"{", "damaged"),
            ("config.json", b"[]", "not a model of coldstart's version"),
            ("config.json", json.dumps(config | {"version": 99}).encode(), "says 99"),
            ("config.json", b'{"version": 1}', "describes no model"),
            ("config.json", json.dumps(no_plugin).encode(), "no fusion plugin 'Nothing'"),
        ]
    ):
        bad = tmp_path / str(number)
        shutil.copytree(good, bad)
        (bad / name).unlink()
        if content is not None:
            (bad / name).write_bytes(content)
        with pytest.raises(cs.InputError, match=message):
            cs.ColdStart.from_pretrained(bad)


class Hub:
    """Stands where the hub would: keeps what was uploaded."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.made = folder, dict[str, Any]()

    def create_repo(self, repo_id: str, **options: Any) -> RepoUrl:
        self.made |= {"repo_id": repo_id, **options}
        return RepoUrl(f"https://huggingface.co/{repo_id}")

    def upload_folder(self, *, repo_id: str, folder_path: str, commit_message: str) -> None:
        self.made |= {"uploaded_to": repo_id, "message": commit_message}
        shutil.copytree(folder_path, self.folder / repo_id)

    def snapshot_download(
        self, repo_id: str, *, revision: str | None, allow_patterns: list[str]
    ) -> str:
        self.made |= {"revision": revision, "allowed": set(allow_patterns)}
        if not (self.folder / repo_id).is_dir():
            raise FileNotFoundError("404")
        return str(self.folder / repo_id)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    hub = Hub(tmp_path / "hub")
    for name in ("create_repo", "upload_folder"):
        function = getattr(hub, name)
        monkeypatch.setattr(HfApi, name, lambda _, *a, f=function, **options: f(*a, **options))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub.snapshot_download)
    return hub


def test_a_model_goes_to_the_hub_and_comes_back(python_run: PythonRun, hub: Hub) -> None:
    address = python_run.model.push_to_hub("somebody/tiny", results=python_run.run, private=True)
    assert address == "https://huggingface.co/somebody/tiny"
    assert hub.made["private"] is True
    assert hub.made["exist_ok"] is True
    assert hub.made["uploaded_to"] == "somebody/tiny"
    there = hub.folder / "somebody" / "tiny"
    assert {p.name for p in there.iterdir()} == {"README.md", "config.json", "model.safetensors"}
    text = (there / "README.md").read_text()
    assert "shuffled content" in text
    assert 'from_pretrained("somebody/tiny")' in text
    again = cs.ColdStart.from_pretrained("somebody/tiny", revision="main")
    assert hub.made["allowed"] == {"config.json", "model.safetensors", "ensemble.json"}
    assert hub.made["revision"] == "main"
    shards = python_run.world.shards
    assert again.embed(shards).values.equal(python_run.model.embed(shards).values)
    with pytest.raises(cs.InputError, match="has to be owner/name"):
        python_run.model.push_to_hub("tiny")
    with pytest.raises(cs.InputError, match="the hub gave no such model"):
        cs.ColdStart.from_pretrained("somebody/else")


def test_a_hub_that_refuses_is_explained(
    python_run: PythonRun, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("401 Unauthorized")  # of whatever kind

    monkeypatch.setattr(HfApi, "upload_folder", refuse)
    with pytest.raises(cs.InputError, match=r"401 Unauthorized.*hf auth login"):
        python_run.model.push_to_hub("somebody/tiny")


def test_without_the_hub_s_library_local_folders_still_work(
    python_run: PythonRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert cs.ColdStart.from_pretrained(python_run.model.save_pretrained(tmp_path / "m"))
    for use in (
        lambda: python_run.model.push_to_hub("somebody/tiny"),
        lambda: cs.ColdStart.from_pretrained("somebody/tiny"),
    ):
        with pytest.raises(cs.InputError, match=r"pip install 'coldstart\[hub\]'"):
            use()
