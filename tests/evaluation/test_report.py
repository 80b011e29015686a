import json
import re
import subprocess
import sys
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from fabricated_run import SEGMENTS
from mlflow import MlflowClient
from pydantic import SecretStr

from evaluation.report import evaluate
from story_model.manifest import MANIFEST

KEY = "sk-never-to-be-seen"


@pytest.fixture(scope="module")
def drawn(make_run):
    made = make_run()
    made = replace(made, settings=made.settings.model_copy(update={"api_key": SecretStr(KEY)}))
    return made, evaluate(made.run, made.config, made.settings)


@pytest.fixture(scope="module")
def page(drawn):
    return drawn[0].run.report_path.read_text()


@pytest.fixture(scope="module")
def undrawn(make_run):
    """A user's own videos: nobody knows what their pictures truly show."""
    made = make_run(with_truth=False, overrides=("tell.policies=[multimodal_sink]",))
    return made, evaluate(made.run, made.config, made.settings)


def test_the_accuracy_is_what_was_painted(drawn):
    metrics = drawn[1].metrics
    assert metrics["character_accuracy"] == pytest.approx(0.8)
    assert metrics["place_accuracy"] == 1
    assert metrics["captions_given/window/character_accuracy"] == pytest.approx(0.5)
    assert metrics["captions_given/dense/character_accuracy"] == 1


def test_the_headline_has_its_chance_and_its_distance(drawn):
    metrics = drawn[1].metrics
    assert 1 / 3 <= metrics["character_chance"] < 0.5
    assert 0.5 <= metrics["place_chance"] < 0.7
    assert metrics["frechet_random_features"] > 0
    assert metrics["segments_told"] == 3 * SEGMENTS


def test_every_told_segment_is_a_row(drawn):
    table = pq.read_table(drawn[0].run.evaluation_dir / "items.parquet").to_pylist()
    assert len(table) == (2 * 4 + 1) * 3 * SEGMENTS == drawn[1].counts["segments"]
    last = next(row for row in table if row["mode"] == "free" and row["index"] == SEGMENTS)
    assert (last["has_picture"], last["seen_character"]) == (False, None)
    several = next(row for row in table if row["mode"] == "captions_given" and row["index"] == 1)
    assert several["named_characters"] == [several["text"].split()[0]]


def test_the_page_needs_nothing_beside_it(page):
    addresses = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert addresses
    assert all(address.startswith(("data:image/", "#")) for address in addresses)
    assert "<script" not in page


def test_the_page_shows_told_and_true_pictures_with_verdicts(page):
    strips = page[page.index('id="stories"') : page.index('id="systems"')]
    assert strips.count("<img") == 2 * (1 + 2 * SEGMENTS + 2 * (SEGMENTS + SEGMENTS - 1))
    assert "free: no picture" in strips
    assert "character 8 of 10" in strips
    assert "the probe sees" in strips


def test_the_baseline_is_a_system_of_the_numbers_and_the_page(drawn, page):
    metrics = drawn[1].metrics
    assert metrics["captions_given/captions_alone/character_accuracy"] == pytest.approx(0.6)
    assert "free/captions_alone/character_accuracy" in metrics
    strips = page[page.index('id="stories"') : page.index('id="systems"')]
    assert "captions given, captions alone: character 6 of 10" in strips
    assert "free, captions alone: no picture" in strips


def test_without_a_baseline_nothing_is_said_of_one(make_run):
    made = make_run(with_truth=False, overrides=("tell.policies=[multimodal_sink]", "train.baseline=null"))
    evaluate(made.run, made.config, made.settings)
    assert "aptions alone" not in made.run.report_path.read_text()


def test_told_text_is_text_on_the_page(page):
    assert "&lt;b&gt;the&lt;/b&gt;" in page
    assert "<b>the</b>" not in page


def test_the_page_says_what_was_reached_missed_and_not_measured(page):
    table = page[page.index('id="learning"') : page.index('id="stories"')]
    assert {name: table.count(f">{name}<") for name in ("reached", "missed", "not measured")} == {
        "reached": 4,
        "missed": 1,
        "not measured": 1,
    }


def test_a_skipped_judge_is_said_to_be_skipped(page, drawn):
    assert "<b>Skipped:</b> no model is configured" in page
    assert not [name for name in drawn[1].metrics if name.startswith("judge/")]


def test_the_page_explains_measured_captions(page):
    assert "not who or what it shows" in page


def test_a_second_run_recomputes_nothing(drawn):
    made, _ = drawn
    assert evaluate(made.run, made.config, made.settings).reused


def test_a_finished_step_imports_no_heavy_library(drawn):
    made, _ = drawn
    code = (
        "import sys; from evaluation import report; report.main(); "
        "assert not {'torch', 'mlflow', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(made.run.root)], check=True, timeout=60, capture_output=True)


def test_measuring_anew_keeps_the_probe(make_run):
    made = make_run(overrides=("tell.policies=[multimodal_sink]", "tell.modes=[captions_given]"))
    evaluate(made.run, made.config, made.settings)
    trained_at = (made.run.probe_dir / MANIFEST).stat().st_mtime_ns
    config = made.config.model_copy(update={"evaluate": made.config.evaluate.model_copy(update={"bootstrap": 0})})
    manifest = evaluate(made.run, config, made.settings)
    assert not manifest.reused
    assert "character_accuracy_ci_low" not in manifest.metrics
    assert (made.run.probe_dir / MANIFEST).stat().st_mtime_ns == trained_at


def test_mlflow_holds_metrics_with_intervals_the_dataset_and_the_page(drawn):
    made, manifest = drawn
    client = MlflowClient(made.settings.tracking_uri)
    run = client.get_run(manifest.tracking_run_id)
    assert run.info.status == "FINISHED"
    assert {"character_accuracy_ci_low", "character_accuracy_ci_high", "character_accuracy_n"} <= set(run.data.metrics)
    assert run.inputs.dataset_inputs[0].dataset.name == "stories"
    names = {artifact.path for artifact in client.list_artifacts(manifest.tracking_run_id)}
    assert {"report.html", "contact_sheet.png", "curves.png", "items.parquet", "items.json"} <= names


def test_no_key_is_on_the_page_in_the_run_or_in_mlflow(drawn):
    workspace = drawn[0].run.root.parent
    files = [path for path in workspace.rglob("*") if path.is_file()]
    assert (workspace / "mlflow.db") in files
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


def test_without_truth_agreement_is_absent_and_said_to_be(undrawn):
    made, manifest = undrawn
    assert not [name for name in manifest.metrics if "accuracy" in name or "chance" in name]
    assert "frechet_random_features" in manifest.metrics
    page = made.run.report_path.read_text()
    assert "<b>not measured</b>" in page
    assert "the probe sees" not in page


def test_a_headline_that_was_not_told_is_refused(drawn):
    made, _ = drawn
    tell = made.config.tell.model_copy(update={"policies": ("dense",)})
    with pytest.raises(ValueError, match="headline_policy"):
        evaluate(made.run, made.config.model_copy(update={"tell": tell}), made.settings)


def test_untold_stories_are_named(drawn):
    made, _ = drawn
    tell = made.config.tell.model_copy(update={"policies": ("attention_sink", "multimodal_sink")})
    with pytest.raises(ValueError, match="attention_sink"):
        evaluate(made.run, made.config.model_copy(update={"tell": tell}), made.settings)


def test_a_story_s_end_is_said_once(make_run):
    made = make_run(overrides=("tell.policies=[multimodal_sink]",))
    stories = made.run.root / "stories"
    for path in sorted(stories.glob("free-multimodal_sink/*/story.json")):
        told = json.loads(path.read_text())
        last = told["segments"][-1]
        told["segments"] += [{**last, "index": last["index"] + extra} for extra in range(1, 31)]
        path.write_text(json.dumps(told))
    evaluate(made.run, made.config, made.settings)
    page = made.run.report_path.read_text()
    assert page.count("dataset: the story has ended") == page.count('class="card opening"') > 0
