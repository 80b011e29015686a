"""A key that sings when it is written down: whatever a server repeats of it, it is in the request's header alone."""

import base64
import json
import logging
import traceback
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from fault_server import BEFORE, DENIED, FAULTS, IMPATIENT, WORDS, quick_retries, serving_faults
from paid_server import serving
from pydantic import SecretStr

from benchmarks.judge_faults import CONFIG, number_in, opinion, questions_of
from evaluation.judging.panel import open_panel
from evaluation.report import evaluate
from story_model.asking.endpoint import QuestionRefused, connect
from story_model.config import Settings, load_config

CANARY = "sk-canary/5f0c3b7e9a1d4c2e8b6f70a2"
PASSWORD = "pass-canary-91b7c4d2"
LOUD = (*(fault for fault in (*BEFORE, *WORDS) if "hang" not in fault and "reset" not in fault), "drip")


def fragments(secret: str) -> set[str]:
    """Pieces that no other text holds by chance, and what the secret looks like in other writing."""
    pieces = {secret[at : at + 12] for at in range(len(secret) - 11)}
    return pieces | {
        base64.b64encode(secret.encode()).decode()[:16],
        json.dumps(secret)[1:-1],
        secret.replace("/", r"\/"),
    }


def sings(text: str, secret: str = CANARY) -> list[str]:
    return sorted(piece for piece in fragments(secret) if piece in text)


def singing_files(folder: Path, secret: str = CANARY) -> list[str]:
    """Files that hold a piece of the secret; tables are unpacked first."""
    found = []
    for path in folder.rglob("*"):
        if path.is_file():
            packed = path.suffix == ".parquet"
            text = str(pq.read_table(path).to_pylist()) if packed else path.read_bytes().decode("latin-1")
            found += [f"{path.name}: {piece}" for piece in sings(f"{path} {text}", secret)]
    return found


def echoing(body: dict) -> str:
    """The true answer, with the key in its reasons."""
    said = json.loads(opinion(body))
    return json.dumps({"rationale": f"{said['rationale']} You sent {{heard}}.", "score": said["score"]})


def by_numbers(data: bytes) -> bytes:
    """Write the key in JSON's \\u escapes, as a server may."""
    return data.replace(CANARY.encode(), "".join(f"\\u{ord(sign):04X}" for sign in CANARY).encode())


def settings_for(url: str, key: str = CANARY) -> Settings:
    return Settings(_env_file=None, api_base_url=url, api_key=SecretStr(key))


ECHOES = {
    "as it was": ({"echo": str}, 1.0),
    "in numbers": ({"echo": str, "wire": by_numbers}, 1.0),
    "where reasons are cut": ({"echo": lambda heard: "word " * 51 + heard}, 1.0),
    "in good answers": ({"echo": str}, 0.0),
}


@pytest.mark.parametrize("echo", ECHOES)
def test_a_judging_writes_no_piece_of_the_key_whatever_the_server_repeats(tmp_path, caplog, capfd, echo):
    caplog.set_level(logging.DEBUG)
    ways, probability = ECHOES[echo]
    told = []
    for number, fault in enumerate(LOUD if probability else ("drip",)):
        folder = tmp_path / str(number) / "judge"
        ways = ways | {"name": number_in, "probability": probability, "faults": [fault]}
        with serving_faults(echoing, **ways) as server, quick_retries():
            panel = open_panel(CONFIG, settings_for(server.url), folder, patience=IMPATIENT)
            told.append(panel.judge(questions_of(2)).model_dump_json())
        assert server.authorizations == {f"Bearer {CANARY}"}
        assert not sings(json.dumps(server.bodies))
    assert not sings("".join(told))
    assert not singing_files(tmp_path)
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith(("openai", "http"))]
    theirs = [record.getMessage() for record in caplog.records if record.levelno >= logging.INFO]
    assert not sings("".join([*ours, *theirs, *capfd.readouterr()]))
    if not probability:
        assert "***" in "".join(told)


@pytest.mark.parametrize("status", [*DENIED[1:], "503", "page in place of JSON"])
@pytest.mark.parametrize("lead_in", ["", "word " * 51, "x" * 285 + " ", "x" * 20])
def test_no_error_says_the_key(tmp_path, status, lead_in):
    """Also where its reason is cut in the middle of it, and in what a traceback prints."""
    ways = {"probability": 1.0, "faults": [status], "echo": lambda heard: lead_in + heard}
    with serving_faults(opinion, name=number_in, **ways) as server, quick_retries():
        endpoint = connect(settings_for(server.url), "seer", tmp_path / "run" / "judge", setting="judge.model")
        with pytest.raises((ValueError, QuestionRefused)) as caught:
            endpoint.ask("e", [{"role": "user", "content": [{"type": "text", "text": "This is number 1."}]}])
    assert not sings("".join(traceback.format_exception(caught.value)))
    assert not singing_files(tmp_path)


def test_a_list_of_models_may_hold_the_key_and_is_told_without_it(tmp_path):
    with serving() as server:
        server.models = [f"model-of-{CANARY}", "another"]
        endpoint = connect(settings_for(server.url), "seer", tmp_path / "run" / "judge", setting="judge.model")
        assert not sings(json.dumps(endpoint.models()))


def test_a_batch_that_failed_is_told_without_the_key(tmp_path, caplog):
    with serving() as server, quick_retries():
        server.name, server.words, server.ending = number_in, opinion, "failed"
        server.errors = [{"code": "invalid", "message": f"the key {CANARY} may not"}]
        config = CONFIG.model_copy(update={"batch": True})
        panel = open_panel(config, settings_for(server.url), tmp_path / "run" / "judge", patience=IMPATIENT)
        told = panel.judge(questions_of(2)).model_dump_json() + caplog.text
    assert "may not" in told
    assert not sings(told)
    assert not singing_files(tmp_path)


def test_a_whole_evaluation_under_faults_leaves_no_piece_of_the_key(make_run, caplog, capfd):
    """Run folder, MLflow's database and artifacts, page, tables, logs."""
    caplog.set_level(logging.INFO)
    judge = ("model=seer", "stories=1", "segments=2", "anchors=0", "self_test=false", "pairs=false")
    made = make_run(
        with_truth=False,
        overrides=("tell.policies=[multimodal_sink]", *(f"evaluate.judge.{one}" for one in judge)),
    )
    faults = [fault for fault in FAULTS if "hang" not in fault and "endless" not in fault]
    with serving_faults(any_opinion, probability=0.3, faults=faults, echo=str) as server, quick_retries():
        settings = made.settings.model_copy(update={"api_base_url": server.url, "api_key": SecretStr(CANARY)})
        evaluate(made.run, made.config, settings)
    assert server.num_requests > 0
    workspace = made.run.root.parent
    assert (workspace / "mlflow.db").is_file()
    assert "<script>alert('judge')" not in made.run.report_path.read_text()
    assert not singing_files(workspace)
    assert not sings("".join([caplog.text, *capfd.readouterr()]))


def any_opinion(body: dict) -> str:
    return json.dumps({"rationale": "You sent {heard}. <script>alert('judge')</script>", "score": 6.5})


@pytest.mark.parametrize("credentials", ["", f"user:{PASSWORD}@"])
def test_a_key_does_not_follow_to_another_server(tmp_path, credentials):
    ways = {"probability": 1.0, "faults": ["307"]}
    with serving_faults(opinion, name=number_in, **ways) as server, serving_faults(opinion, name=number_in) as other:
        server.elsewhere = other.url
        url = server.url.replace("://", f"://{credentials}")
        endpoint = connect(settings_for(url), "seer", tmp_path / "run" / "judge", setting="judge.model")
        endpoint.ask("e", [{"role": "user", "content": [{"type": "text", "text": "This is number 1."}]}])
    assert "" not in server.authorizations
    assert other.authorizations == {""}


def test_an_address_with_a_password_is_refused_without_saying_it(tmp_path):
    """A judge's address is part of the judge's name, and of reports."""
    settings = settings_for(f"http://user:{PASSWORD}@127.0.0.1:9/v1")
    with pytest.raises(ValueError, match="STORY_JUDGE_API_KEY") as caught:
        open_panel(CONFIG, settings, tmp_path / "judge")
    assert not sings("".join(traceback.format_exception(caught.value)), PASSWORD)


@pytest.mark.parametrize("place", ["judge.address={}", "judge.panel=[{{model: second, address: '{}'}}]"])
def test_a_configuration_which_is_saved_and_logged_takes_no_address_with_a_password(place):
    for address in (f"http://user:{PASSWORD}@host/v1", f"http://host/v1?key={PASSWORD}"):
        with pytest.raises(ValueError, match="STORY_JUDGE_KEYS") as caught:
            load_config("tiny", [f"evaluate.{place.format(address)}"])
        assert not sings("".join(traceback.format_exception(caught.value)), PASSWORD)


def test_an_endpoint_s_address_is_shown_and_logged_without_its_password(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    ways = {"probability": 1.0, "faults": ["503"], "echo": str}
    with serving_faults(opinion, name=number_in, **ways) as server, quick_retries():
        url = server.url.replace("://", f"://user:{PASSWORD}@")
        endpoint = connect(settings_for(url), "seer", tmp_path / "run" / "judge", setting="judge.model")
        with pytest.raises(ValueError, match=r"127\.0\.0\.1") as caught:
            endpoint.ask("e", [{"role": "user", "content": [{"type": "text", "text": "This is number 1."}]}])
    given = base64.b64encode(f"user:{PASSWORD}".encode()).decode()
    assert server.authorizations == {f"Basic {given}"}
    told = "".join(traceback.format_exception(caught.value)) + "".join(
        record.getMessage() for record in caplog.records if record.levelno >= logging.INFO
    )
    assert not sings(told, PASSWORD)
    assert given not in told
    assert not singing_files(tmp_path, PASSWORD)
