import re
import shlex
from pathlib import Path

import pytest

from story_model.config import (
    PROJECT_DIR,
    RunConfig,
    Settings,
    load_config,
    override_config,
    preset_names,
    read_config,
    save_config,
)


def test_a_saved_configuration_is_read_back_equal(tmp_path: Path) -> None:
    config = load_config("tiny", ["tell.segments=7", "train.stage1.optimizer.betas=[0.8, 0.9]"])
    save_config(config, tmp_path / "config.yaml")
    assert read_config(tmp_path / "config.yaml") == config


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("tell.segmens=3", "no key 'tell.segmens'; did you mean 'segments'?"),
        ("train.stage1.step=3", "did you mean 'steps'?"),
        ("tell.policies=[dens]", "tell.policies.0"),
        ("train.stage1.steps=0", "train.stage1.steps"),
        ("tell.segments", "has no '='"),
        ("seed.x=1", "'seed' is a value"),
        ("build.stories.chunk_length=40", "must not exceed length"),
    ],
)
def test_a_wrong_override_is_refused_with_what_to_write(override: str, message: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        load_config("tiny", [override])
    assert message in str(caught.value)


def test_an_unknown_preset_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(ValueError, match="did you mean 'tiny'"):
        load_config("tinyy")


def test_overrides_change_a_configuration_and_nothing_else() -> None:
    config = load_config("tiny")
    changed = override_config(config, ["tell.segments=3"])
    assert changed.tell.segments == 3
    assert changed.model_copy(update={"tell": config.tell}) == config


@pytest.mark.parametrize("preset", preset_names())
def test_a_preset_names_itself(preset: str) -> None:
    assert isinstance(load_config(preset), RunConfig)
    assert load_config(preset).preset == preset


def test_a_value_that_is_no_yaml_is_told(tmp_path):
    with pytest.raises(ValueError, match="the value is no YAML"):
        load_config("tiny", ["build.narratives.cast.given={George: a: b}"])


def test_a_saved_configuration_of_another_version_is_told_with_its_file(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("preset: tiny\nbuild: {keyframes: {max_side: 3}}\n")
    with pytest.raises(ValueError, match=r"config.yaml: config has no key 'build.keyframes'.*make the run again"):
        read_config(path)


def test_a_setting_that_is_refused_is_not_repeated_for_it_may_be_a_key(monkeypatch):
    monkeypatch.setenv("STORY_JUDGE_KEYS", '{"https://host/v1": ["sk-judge"]}')
    with pytest.raises(ValueError, match="judge_keys") as caught:
        Settings(_env_file=None)
    assert "sk-judge" not in str(caught.value)


DOCUMENTS = [PROJECT_DIR / "README.md", *sorted((PROJECT_DIR / "docs").rglob("*.md"))]


@pytest.mark.parametrize("said", re.findall(r"SET='([^']*)'", "\n".join(map(Path.read_text, DOCUMENTS))))
def test_what_the_documents_set_for_make_passes_through_its_shell(said):
    """`make` hands SET on without quotes: no value may hold a space."""
    load_config("tiny", shlex.split(said))
