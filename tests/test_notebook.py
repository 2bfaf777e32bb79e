"""Models in Python: fitted with a plain trainer, asked, saved, shared and reloaded."""

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any, NamedTuple

import huggingface_hub
import nbclient
import nbformat
import pytest
import torch
from conftest import World
from huggingface_hub import HfApi, RepoUrl
from lightning.pytorch import Trainer

import coldstart as cs
from coldstart.runs.run import open_run, predictions_of

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "examples" / "notebook.ipynb"


class Fitted(NamedTuple):
    """A trainer's folder, the world it was fitted in, and its best model."""

    run: Path
    world: World
    model: cs.ColdStart


def new_model() -> cs.ColdStart:
    encoders = {"mgp": cs.MGP(hidden=(8,)), "genres": cs.Genres(hidden=(4,))}
    return cs.ColdStart(encoders=encoders, fusion=cs.Gated(width=8))


def new_trainer(folder: Path, **options: Any) -> Trainer:
    quiet: dict[str, Any] = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return Trainer(default_root_dir=folder, max_epochs=2, accelerator="cpu", **quiet, **options)


@pytest.fixture(scope="module")
def fitted(tiny_world: World) -> Fitted:
    torch.manual_seed(0)
    run = tiny_world.root / "runs" / "in_python"
    model, data = new_model(), cs.ColdStartData(str(tiny_world.shards), str(tiny_world.factors))
    trainer = new_trainer(run, callbacks=[cs.RunCheckpoint(), cs.TestReport()])
    trainer.fit(model, data)
    trainer.test(model, data, ckpt_path="best")
    return Fitted(run, tiny_world, cs.load(run))


def test_a_checkpoint_of_a_plain_trainer_reloads_without_unpickling(
    tiny_world: World, tmp_path: Path
) -> None:
    model, data = new_model(), cs.ColdStartData(str(tiny_world.shards), str(tiny_world.factors))
    trainer = new_trainer(tmp_path)
    trainer.fit(model, data)
    (path,) = tmp_path.rglob("*.ckpt")
    assert torch.load(path, weights_only=True)["coldstart"]["facts"]
    assert cs.load(path).embed(data.shards).values.equal(model.embed(data.shards).values)


def test_a_run_s_folder_stands_for_its_best_checkpoint(fitted: Fitted) -> None:
    by_path = cs.load(fitted.run / "checkpoints" / "best.ckpt")
    for name, value in fitted.model.state_dict().items():
        assert value.equal(by_path.state_dict()[name])
    with pytest.raises(cs.InputError, match=r"best\.ckpt is missing"):
        cs.load(fitted.world.shards)


def test_verbs_and_methods_agree(tiny_world: World, tmp_path: Path) -> None:
    data = {"data.shards": tiny_world.shards, "data.factors": tiny_world.factors}
    run = cs.fit(
        "mgp_genres.yaml",
        run=str(tmp_path / "run"),
        overrides={**data, "trainer.max_epochs": 1, "stages": 1},
    )
    model = cs.load(run)
    embedded, kept = model.embed(tiny_world.shards), predictions_of(open_run(run))
    assert embedded.track_ids == kept.track_ids
    assert embedded.values.equal(kept.values)
    where = (tiny_world.shards, tiny_world.factors)
    like, user = kept.track_ids[0], cs.Factors.load(tiny_world.factors).user_ids[0]
    assert model.recommend(*where, like=like) == cs.recommend(run=run, like=like)
    assert model.recommend(*where, user=user, k=3) == cs.recommend(run=run, user=user, k=3)


def test_a_fit_without_our_data_is_explained(tmp_path: Path) -> None:
    with pytest.raises(cs.InputError, match="ColdStartData"):
        new_trainer(tmp_path).fit(new_model(), [1])


def test_embedding_gives_every_track_a_direction(fitted: Fitted) -> None:
    made = fitted.model.embed(cs.Shards(fitted.world.shards))
    assert len(set(made.track_ids)) == 60
    assert made.values.shape == (60, 8)
    torch.testing.assert_close(made.values.norm(dim=1), torch.ones(60))


def test_named_tracks_come_in_the_order_named(fitted: Fitted) -> None:
    shards, everyone = fitted.world.shards, fitted.model.embed(fitted.world.shards)
    rows = [40, 3, 17]
    named = [everyone.track_ids[row] for row in rows]
    made = fitted.model.embed(shards, [*named, named[0]])
    assert made.track_ids == named
    torch.testing.assert_close(made.values, everyone.values[rows])
    assert fitted.model.embed(shards, named[1]).track_ids == [named[1]]
    with pytest.raises(cs.InputError, match="no track 'nobody'"):
        fitted.model.embed(shards, [*named, "nobody"])


def test_a_track_without_any_input_is_left_out(fitted: Fitted, tmp_path: Path) -> None:
    names = cs.Shards(fitted.world.shards).info("mgp")["names"]
    tracks, mgp, shards = (tmp_path / name for name in ("tracks.csv", "mgp.csv", "shards"))
    tracks.write_text("track_id,title,artist,genres\na,A,X,rock\nb,B,X,\nc,C,X,\n")
    mgp.write_text(f"track_id,{','.join(names)}\nc,{','.join('1' for _ in names)}\n")
    cs.shard(tracks, out=shards, attributes={"mgp": str(mgp)}, workers=1)
    assert sorted(fitted.model.embed(shards).track_ids) == ["a", "c"]
    assert fitted.model.embed(shards, ["b", "c"]).track_ids == ["c"]
    with pytest.raises(cs.InputError, match="any of what the model reads"):
        fitted.model.embed(shards, "b")
    with pytest.raises(cs.InputError, match="nothing is known of track 'b'"):
        fitted.model.recommend(shards, like="b")


def test_embedding_is_without_dropout_and_leaves_the_model_in_its_mode(fitted: Fitted) -> None:
    evaluating = fitted.model.embed(fitted.world.shards).values
    try:
        fitted.model.train()
        assert fitted.model.embed(fitted.world.shards).values.equal(evaluating)
        assert fitted.model.training
    finally:
        fitted.model.eval()


def test_a_model_that_is_not_fitted_says_so(tiny_world: World, tmp_path: Path) -> None:
    for use in (
        lambda: new_model().embed(tiny_world.shards),
        lambda: new_model().recommend(tiny_world.shards, like="t000000"),
        lambda: new_model().save_pretrained(tmp_path),
    ):
        with pytest.raises(cs.InputError, match="no layers yet"):
            use()


def test_a_vector_finds_its_track_and_a_track_not_itself(fitted: Fitted) -> None:
    shards, embedded = fitted.world.shards, fitted.model.embed(fitted.world.shards)
    here, track = {"embedded": embedded, "k": 60}, embedded.track_ids[5]
    for vector in (embedded.values[5], embedded.values[5].numpy(), embedded.values[5].tolist()):
        first = fitted.model.recommend(shards, vector=vector, **here)[0]
        assert (first.rank, first.track_id, first.similarity) == (1, track, 1)
    found = fitted.model.recommend(shards, like=track, **here)
    assert len(found) == 59
    assert track not in {row.track_id for row in found}
    assert [row.rank for row in found] == list(range(1, 60))
    assert [row.similarity for row in found] == sorted((r.similarity for r in found), reverse=True)


def test_candidates_may_be_named(fitted: Fitted) -> None:
    where = (fitted.world.shards, fitted.world.factors)
    ids = fitted.model.embed(fitted.world.shards).track_ids
    found = fitted.model.recommend(*where, like=ids[0], candidates=ids[:5])
    assert {row.track_id for row in found} == set(ids[1:5])
    with pytest.raises(cs.InputError, match="no track 'nobody'"):
        fitted.model.recommend(*where, like=ids[0], candidates=[ids[1], "nobody"])
    with pytest.raises(cs.InputError, match="no track of those named"):
        fitted.model.recommend(*where, like=ids[0], candidates=ids[:1])


def test_factors_tell_warm_from_cold_and_what_was_played(fitted: Fitted) -> None:
    factors = cs.Factors.load(fitted.world.factors)
    warm = {t for t, folded in zip(factors.track_ids, factors.folded, strict=True) if not folded}
    user = factors.user_ids[0]
    played = {factors.track_ids[i] for i in factors.listens[0].indices} & warm
    for given in (factors, fitted.world.factors):
        cold = fitted.model.recommend(fitted.world.shards, given, user=user, k=60)
        assert cold
        assert not {row.track_id for row in cold} & warm
        known = fitted.model.recommend(
            fitted.world.shards, given, user=user, k=60, candidates="warm"
        )
        assert {row.track_id for row in known} == warm - played


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({}, "name one query"),
        ({"like": "t000000", "user": "u00000"}, "name one query"),
        ({"like": "nobody"}, "no track 'nobody'"),
        ({"user": "u00000"}, "no user 'u00000' in the factors"),
        ({"vector": [1.0, 2.0]}, "needed are 8 finite numbers"),
        ({"vector": [float("nan")] * 8}, "needed are 8 finite numbers"),
        ({"vector": [0.0] * 8}, "needed are 8 finite numbers"),
        ({"like": "t000000", "k": 0}, "k is at least 1"),
        ({"like": "t000000", "candidates": "cool"}, "'cool' is none of"),
        ({"like": "t000000", "candidates": "warm"}, "no warm track"),
    ],
)
def test_recommend_says_what_is_wrong(
    fitted: Fitted, question: dict[str, Any], message: str
) -> None:
    with pytest.raises(cs.InputError, match=message):
        fitted.model.recommend(fitted.world.shards, **question)


def test_other_factors_are_refused(fitted: Fitted, tmp_path: Path) -> None:
    world = fitted.world
    listens = world.catalogue / "listens.parquet"
    other = cs.factorize(listens, out=tmp_path, splits=world.splits, factors=8, seed=7)
    with pytest.raises(cs.InputError, match="not those that the model was trained on"):
        fitted.model.recommend(world.shards, other, user=other.user_ids[0])


def test_a_saved_model_reloads_exactly(fitted: Fitted, tmp_path: Path) -> None:
    assert fitted.model.save_pretrained(tmp_path / "m", results=fitted.run) == tmp_path / "m"
    files = {path.name for path in (tmp_path / "m").iterdir()}
    assert files == {"README.md", "config.json", "model.safetensors"}
    again = cs.ColdStart.from_pretrained(tmp_path / "m")
    assert not again.training
    assert again.recipe() == json.loads(json.dumps(fitted.model.recipe()))
    shards = fitted.world.shards
    assert again.embed(shards).values.equal(fitted.model.embed(shards).values)
    again.save_pretrained(tmp_path / "m")  # over the first, and a model that was itself reloaded
    twice = cs.ColdStart.from_pretrained(tmp_path / "m")
    assert twice.embed(shards).values.equal(again.embed(shards).values)


def test_the_card_gives_figures_with_what_they_must_be_read_with(
    fitted: Fitted, tmp_path: Path
) -> None:
    fitted.model.save_pretrained(tmp_path / "m", results=fitted.run)
    text = (tmp_path / "m" / "README.md").read_text()
    results = json.loads((fitted.run / "results.json").read_text())
    assert text.startswith("---\nlibrary_name: coldstart\n")
    for row in results["rows"]:
        assert f"| {row['method']} " in text
        assert f"{row['NDCG@20']:.3f}" in text
    for wanted in (
        f"{results['candidates']} cold candidates",
        f"{results['users']} users with a relevant one",
        "strict cold start",
        "k = 20",
        "evaluation 0, factorisation 0",
        "`mgp.npy`",
        "Gated",
        results["factors"]["id"],
    ):
        assert wanted in text
    assert str(fitted.world.root) not in text
    assert str(tmp_path) not in text
    assert str(fitted.world.root) not in (tmp_path / "m" / "config.json").read_text()


def test_a_card_without_results_says_so(fitted: Fitted, tmp_path: Path) -> None:
    text = (fitted.model.save_pretrained(tmp_path) / "README.md").read_text()
    assert "There are none" in text
    assert "random" not in text


def test_a_card_says_what_a_test_left_out(fitted: Fitted, tmp_path: Path) -> None:
    results = json.loads((fitted.run / "results.json").read_text()) | {"drop": ["genres"]}
    text = (fitted.model.save_pretrained(tmp_path, results) / "README.md").read_text()
    assert "no track had genres" in text


def test_results_must_be_of_the_model(fitted: Fitted, tmp_path: Path) -> None:
    results = json.loads((fitted.run / "results.json").read_text())
    other = cs.load(fitted.run)
    with torch.no_grad():
        next(other.parameters()).add_(1)
    with pytest.raises(cs.InputError, match="other weights"):
        other.save_pretrained(tmp_path / "m", results)
    del results["rows"]
    (tmp_path / "results.json").write_text("[")
    for wrong, message in (
        (results, "no results of a test"),
        ({}, "no results of a test"),
        (tmp_path / "absent.json", "there are no results"),
        (tmp_path, "not readable"),
    ):
        with pytest.raises(cs.InputError, match=message):
            fitted.model.save_pretrained(tmp_path / "m", wrong)
    assert not (tmp_path / "m").exists()


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


def test_a_card_says_that_other_nets_belong_to_the_model(tmp_path: Path) -> None:
    model = cs.ColdStart({"audio": cs.Embedding("audio_vectors")})
    facts = {"audio_vectors": {"width": 3, "mean": [0.0] * 3, "std": [1.0] * 3}}
    model.build((facts | {"factors": {"factors": 4}}).__getitem__)
    text = (model.save_pretrained(tmp_path) / "README.md").read_text()
    assert "audio: vectors that other nets have computed" in text


def test_what_json_cannot_keep_is_refused(fitted: Fitted, tmp_path: Path) -> None:
    model = cs.load(fitted.run)
    model.facts["learnt/genres"] = {"weights": {1, 2}}
    with pytest.raises(cs.InputError, match="can't be kept as JSON"):
        model.save_pretrained(tmp_path / "m")
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_damaged_folder_is_explained(fitted: Fitted, tmp_path: Path) -> None:
    good = fitted.model.save_pretrained(tmp_path / "good")
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


def test_a_model_goes_to_the_hub_and_comes_back(fitted: Fitted, hub: Hub) -> None:
    address = fitted.model.push_to_hub("somebody/tiny", results=fitted.run, private=True)
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
    assert hub.made["allowed"] == {"config.json", "model.safetensors"}
    assert hub.made["revision"] == "main"
    shards = fitted.world.shards
    assert again.embed(shards).values.equal(fitted.model.embed(shards).values)
    with pytest.raises(cs.InputError, match="has to be owner/name"):
        fitted.model.push_to_hub("tiny")
    with pytest.raises(cs.InputError, match="the hub gave no such model"):
        cs.ColdStart.from_pretrained("somebody/else")


def test_a_hub_that_refuses_is_explained(
    fitted: Fitted, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("401 Unauthorized")  # of whatever kind

    monkeypatch.setattr(HfApi, "upload_folder", refuse)
    with pytest.raises(cs.InputError, match=r"401 Unauthorized.*hf auth login"):
        fitted.model.push_to_hub("somebody/tiny")


def test_without_the_hub_s_library_local_folders_still_work(
    fitted: Fitted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert cs.ColdStart.from_pretrained(fitted.model.save_pretrained(tmp_path / "m"))
    for use in (
        lambda: fitted.model.push_to_hub("somebody/tiny"),
        lambda: cs.ColdStart.from_pretrained("somebody/tiny"),
    ):
        with pytest.raises(cs.InputError, match=r"pip install 'coldstart\[hub\]'"):
            use()


def test_the_notebook_runs(tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    printed = str([cell.get("outputs") for cell in notebook.cells])
    assert "300 tracks, 16 factors each" in printed
    assert printed.count("Recommendation(rank=3") == 3
    assert "ridge" in (tmp_path / "model" / "README.md").read_text()


def test_the_notebook_is_committed_without_outputs() -> None:
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


def test_the_page_on_notebooks_runs(
    tiny_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("shards", "factors"):
        (tmp_path / name).symlink_to(getattr(tiny_world, name))
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "notebooks.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    names: dict[str, Any] = {}
    exec(compile(code, "docs/notebooks.md", "exec"), names)
    assert isinstance(names["model"], cs.ColdStart)
    assert len(names["found"]) > 0
