"""The champion: who becomes it, who does not, and who is told."""

import logging
import shutil

import pytest
from compared_runs import evaluated_run, noise, settings_at
from mlflow import MlflowClient

from evaluation import champion as command
from evaluation.champion import hold_against_champion
from evaluation.comparing.registry import REGRESSION, Registry
from story_model.verdict import read_standing


@pytest.fixture
def settings(tmp_path, mlflow_uri):
    return settings_at(tmp_path, mlflow_uri, tmp_path.name)


def run_of_worth(folder, worth, **kwargs):
    return evaluated_run(
        folder, measures={"character_agrees": lambda *at: worth + noise(*at) / 8}, segments=2, **kwargs
    )


def champion_of(settings):
    version = Registry(settings).pointed("champion")
    return None if version is None else int(version.version)


def registered(settings):
    """All that the registry and the runs' own pages say."""
    client, name = MlflowClient(settings.tracking_uri), Registry(settings).name
    versions = client.search_model_versions(f"name='{name}'")
    experiment = client.get_experiment_by_name(settings.experiment).experiment_id
    runs = client.search_runs([experiment])
    return (
        sorted((one.version, one.source, sorted(one.tags.items())) for one in versions),
        client.get_registered_model(name).aliases,
        sorted((run.info.run_id, sorted(run.data.tags.items())) for run in runs),
    )


def test_the_first_run_is_champion_for_want_of_another(tmp_path, settings):
    run = run_of_worth(tmp_path / "one", 0.5)
    outcome = hold_against_champion(run.root, settings)
    assert (outcome.standing, outcome.version, champion_of(settings)) == ("crowned", 1, 1)
    assert read_standing(run.standing_path) == outcome


def test_a_better_run_becomes_champion(tmp_path, settings):
    hold_against_champion(run_of_worth(tmp_path / "one", 0.3).root, settings)
    outcome = hold_against_champion(run_of_worth(tmp_path / "two", 0.8).root, settings)
    assert (outcome.standing, outcome.against, champion_of(settings)) == ("improved", "one", 2)


def test_an_equal_run_changes_no_champion(tmp_path, settings):
    hold_against_champion(run_of_worth(tmp_path / "one", 0.5).root, settings)
    outcome = hold_against_champion(run_of_worth(tmp_path / "two", 0.5).root, settings)
    assert (outcome.standing, champion_of(settings)) == ("undecided", 1)
    assert int(Registry(settings).pointed("candidate").version) == 2


def test_a_worse_run_raises_an_alarm_and_changes_no_champion(tmp_path, settings, caplog):
    hold_against_champion(run_of_worth(tmp_path / "one", 0.8).root, settings)
    run = run_of_worth(tmp_path / "two", 0.3)
    with caplog.at_level(logging.WARNING):
        outcome = hold_against_champion(run.root, settings)
    assert (outcome.standing, champion_of(settings)) == ("regressed", 1)
    client = MlflowClient(settings.tracking_uri)
    reason = "two beside one: regressed: worse: captions_given/character_agrees 0.8"
    assert client.get_model_version(Registry(settings).name, "2").tags[REGRESSION].startswith(reason)
    page = client.get_run((run.root / ".tracking_run").read_text())
    assert page.data.tags[REGRESSION].startswith(reason)
    assert f"REGRESSION: {reason}" in caplog.text


@pytest.mark.parametrize("worths", [(0.8, 0.3), (0.3, 0.8), (0.5, 0.5)])
def test_a_second_time_changes_nothing(tmp_path, settings, worths):
    for name, worth in zip(("one", "two"), worths, strict=True):
        run = run_of_worth(tmp_path / name, worth)
        first = hold_against_champion(run.root, settings)
    before, written = registered(settings), run.standing_path.stat().st_mtime_ns
    assert hold_against_champion(run.root, settings) == first
    assert registered(settings) == before
    assert run.standing_path.stat().st_mtime_ns == written


def test_an_alarm_ends_with_its_reason(tmp_path, settings):
    hold_against_champion(run_of_worth(tmp_path / "one", 0.8).root, settings)
    run = run_of_worth(tmp_path / "two", 0.3)
    hold_against_champion(run.root, settings)
    hold_against_champion(run.root, settings, make_champion=True)
    client = MlflowClient(settings.tracking_uri)
    assert REGRESSION not in client.get_model_version(Registry(settings).name, "2").tags
    assert REGRESSION not in client.get_run((run.root / ".tracking_run").read_text()).data.tags
    assert champion_of(settings) == 2


def test_a_champion_whose_folder_is_gone_stays_and_the_message_says_what_to_do(tmp_path, settings):
    gone = run_of_worth(tmp_path / "one", 0.3)
    hold_against_champion(gone.root, settings)
    shutil.rmtree(gone.root)
    outcome = hold_against_champion(run_of_worth(tmp_path / "two", 0.8).root, settings)
    assert (outcome.standing, champion_of(settings)) == ("incomparable", 1)
    assert "is not on this machine" in outcome.message
    assert "--make-champion" in outcome.message


def test_a_champion_whose_evaluation_is_incomplete_stays(tmp_path, settings):
    run = run_of_worth(tmp_path / "one", 0.3)
    hold_against_champion(run.root, settings)
    (run.evaluation_dir / "values.parquet").unlink()
    outcome = hold_against_champion(run_of_worth(tmp_path / "two", 0.8).root, settings)
    assert (outcome.standing, champion_of(settings)) == ("incomparable", 1)
    assert "missing or cut short" in outcome.message


def test_a_champion_that_was_trained_anew_in_its_folder_is_not_mistaken_for_itself(tmp_path, settings):
    run = run_of_worth(tmp_path / "one", 0.3)
    hold_against_champion(run.root, settings)
    shutil.rmtree(run.root)
    run = run_of_worth(tmp_path / "one", 0.8, spoiled=True)
    outcome = hold_against_champion(run.root, settings)
    assert (outcome.standing, outcome.version, champion_of(settings)) == ("incomparable", 2, 1)
    assert "other weights or stories by now" in outcome.message


def test_an_older_run_is_no_candidate_and_raises_no_alarm(tmp_path, settings):
    old = run_of_worth(tmp_path / "one", 0.3)
    hold_against_champion(old.root, settings)
    hold_against_champion(run_of_worth(tmp_path / "two", 0.8).root, settings)
    outcome = hold_against_champion(old.root, settings)
    assert (outcome.standing, champion_of(settings)) == ("superseded", 2)


def test_a_run_better_than_another_one_than_the_champion_does_not_replace_it(tmp_path, settings):
    other = run_of_worth(tmp_path / "other", 0.1)
    hold_against_champion(run_of_worth(tmp_path / "one", 0.9).root, settings)
    outcome = hold_against_champion(run_of_worth(tmp_path / "two", 0.5).root, settings, against=other.name)
    assert (outcome.standing, outcome.against, champion_of(settings)) == ("improved", "other", 1)


def test_a_run_to_be_held_against_that_is_nowhere_is_named(tmp_path, settings):
    run = run_of_worth(tmp_path / "one", 0.5, stories=2)
    with pytest.raises(ValueError, match=r"there is no run 'on' in .*, and no folder of that name"):
        hold_against_champion(run.root, settings, against="on")


def test_nothing_is_copied_into_the_registry(tmp_path, settings):
    run = run_of_worth(tmp_path / "one", 0.5)
    hold_against_champion(run.root, settings)
    version = Registry(settings).pointed("champion")
    assert version.source == run.root.as_uri()
    assert version.tags["storystream.run"] == "one"


def test_the_command_s_exit_code_tells_a_regression_from_an_error(tmp_path, settings, monkeypatch):
    monkeypatch.setattr(command, "Settings", lambda: settings)
    codes = []
    for name, worth in (("one", 0.8), ("two", 0.3)):
        run = run_of_worth(tmp_path / name, worth)
        monkeypatch.setattr("sys.argv", ["champion", str(run.root)])
        codes.append(command.main())
    assert codes == [0, 3]
    monkeypatch.setattr("sys.argv", ["champion", str(tmp_path / "nowhere")])
    with pytest.raises(SystemExit, match=r"champion: .*holds no config.yaml"):
        command.main()
