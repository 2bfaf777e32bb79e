"""Shipped configs, and which of several is taken."""

from pathlib import Path

import pytest
import yaml

from coldstart.cli import main
from coldstart.runs.config import configs_folder

SHIPPED = {p.name: yaml.safe_load(p.read_text()) for p in configs_folder().glob("*.yaml")}
CONFIGS = sorted(name for name, config in SHIPPED.items() if "model" in config)
ABLATIONS = sorted(name for name, config in SHIPPED.items() if "parts" in config)
SPACES = sorted(name for name in SHIPPED if name.startswith("space_"))


@pytest.mark.parametrize("name", CONFIGS)
def test_every_shipped_config_parses_and_prints(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--config", name, "--print_config"])
    assert stop.value.code == 0
    config = yaml.safe_load(capsys.readouterr().out)
    encoders = config["model"]["encoders"]
    sound = {"Audio", "Spectrogram", "Waveform"} & {
        encoder["class_path"].rsplit(".", 1)[-1] for encoder in encoders.values()
    }
    assert bool(encoders) != (name == "default.yaml")  # which has those for what a dataset has
    on_a_cpu = "small" in name
    assert config["data"]["batch_size"] == (32 if on_a_cpu else 64 if sound else 256)
    stops = any("EarlyStopping" in c["class_path"] for c in config["trainer"]["callbacks"])
    assert stops != (
        name in ("default.yaml", "kernel.yaml", "listened.yaml")
    )  # solved, in one epoch
    for encoder in encoders.values():
        assert encoder["init_args"]["dropout"] == 0.5


def test_every_shipped_config_is_a_fit_s_an_ablation_s_or_a_search_s() -> None:
    assert set(CONFIGS) | set(ABLATIONS) | set(SPACES) == set(SHIPPED)


@pytest.mark.parametrize("name", ABLATIONS)
def test_every_shipped_ablation_parses_and_names_shipped_configs(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["ablate", "--config", name, "--print_config"])
    assert stop.value.code == 0
    config = yaml.safe_load(capsys.readouterr().out)
    parts = {part: SHIPPED[file]["model"] for part, file in config["parts"].items()}
    for part, model in parts.items():
        assert list(model["encoders"]) == [part]
    for row in config["rows"] or []:
        assert set(row) <= set(parts)
    for modality, file in (config["listeners"] or {}).items():
        (_, writer) = SHIPPED[file]["trainer"]["callbacks"]
        assert writer["init_args"]["modality"] == modality


def test_a_config_in_the_current_folder_comes_before_the_shipped_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (configs_folder() / "mgp.yaml").read_text().replace("256", "17")
    (tmp_path / "mgp.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["fit", "--config", "mgp.yaml", "--print_config"])
    assert yaml.safe_load(capsys.readouterr().out)["data"]["batch_size"] == 17


def test_a_later_config_replaces_the_selected_modalities(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    later = tmp_path / "only.yaml"
    later.write_text("model: {encoders: {genres: {class_path: Genres}}}")
    with pytest.raises(SystemExit):
        main(["fit", "--config", "mgp.yaml", "--config", str(later), "--print_config"])
    encoders = yaml.safe_load(capsys.readouterr().out)["model"]["encoders"]
    assert list(encoders) == ["genres"]
