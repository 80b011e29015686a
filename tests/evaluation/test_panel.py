"""The panel: who is asked, with which key, and what is known before anything is paid."""

import json
import logging
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
from judge_wire import CONFIG, URL, USD, Wire, failure, opinion, question, reply, statuses
from pydantic import SecretStr

from evaluation.judging.panel import Panel, key_for, normalised, open_panel
from evaluation.judging.retirement import retirement
from story_model.config import Settings
from story_model.evaluate_config import JudgeConfig

NOW = datetime(2026, 11, 21, tzinfo=UTC)
CANARY = "sk-canary-0123456789"
OTHER = "http://other.test/v1"


def settings(**given):
    return Settings(_env_file=None, **{"api_base_url": None, **given})


def with_panel(*models, **more):
    return CONFIG.model_copy(
        update={"panel": JudgeConfig(panel=[{"model": "judge-2", "address": OTHER, **one} for one in models]).panel}
        | more
    )


@pytest.mark.parametrize(
    ("url", "config", "reason"), [(None, CONFIG, "endpoint"), (URL, JudgeConfig(), "evaluate.judge.model")]
)
def test_without_endpoint_or_model_the_reason_is_told(tmp_path, url, config, reason):
    found = open_panel(config, settings(api_base_url=url), tmp_path)
    assert isinstance(found, str)
    assert reason in found


def test_opening_a_panel_asks_nobody_and_writes_nothing(tmp_path):
    wire = Wire()
    assert isinstance(wire.panel(tmp_path), Panel)
    assert (wire.headers, list(tmp_path.iterdir())) == ([], [])


def test_several_judges_are_asked_the_same(tmp_path):
    wire = Wire(reply(opinion(4)), reply(opinion(9)))
    found = wire.judge(tmp_path, question(), config=with_panel({}))
    assert [(row.judge, row.score) for row in found.judgements] == [("judge-1", 4), ("judge-2", 9)]
    assert [bill.judge for bill in found.bill] == ["judge-1", "judge-2"]
    assert [one["model"] for one in wire.asked] == ["judge-1", "judge-2"]


def test_judges_of_one_name_are_told_apart_by_address(tmp_path):
    wire = Wire(reply(opinion(4)), reply(opinion(9)))
    found = wire.judge(tmp_path, question(), config=with_panel({"model": "judge-1"}))
    assert [(row.judge, row.score) for row in found.judgements] == [
        ("judge-1 at http://judge.test/v1", 4),
        ("judge-1 at http://other.test/v1", 9),
    ]


def test_a_judge_that_is_named_twice_is_told(tmp_path):
    with pytest.raises(ValueError, match="named twice"):
        Wire().panel(tmp_path, with_panel({"model": "judge-1", "address": f"{URL}/"}))


def test_the_budget_is_one_for_all_judges(tmp_path):
    price = {"price": CONFIG.price}
    found = Wire().judge(tmp_path, question(), question("More."), config=with_panel(price, budget_usd=2.5 * USD))
    assert statuses(found) == ["ok", "ok", "ok", "not_asked"]


def test_a_budget_without_any_price_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"evaluate\.judge\.price"):
        Wire().panel(tmp_path, JudgeConfig(model="judge-1", budget_usd=1))


def test_a_judge_that_the_budget_cannot_see_is_named(tmp_path):
    found = Wire().judge(tmp_path, question(), config=with_panel({}, budget_usd=1))
    assert [(notice.judge, "no price" in notice.text) for notice in found.notices] == [("judge-2", True)]


KEYS = {
    "api_base_url": "https://captions.test/v1",
    "api_key": SecretStr("key-of-captions"),
    "judge_base_url": URL,
    "judge_api_key": SecretStr("key-of-judge"),
    "judge_keys": {OTHER: SecretStr("key-of-other")},
}


@pytest.mark.parametrize(
    ("address", "key"),
    [
        (URL, "key-of-judge"),
        (f"{URL}/", "key-of-judge"),
        ("HTTP://JUDGE.TEST:80/v1", "key-of-judge"),
        ("https://captions.test:443/v1/", "key-of-captions"),
        ("http://other.test/v1/", "key-of-other"),
        ("https://judge.test/v1", "none"),
        ("http://captions.test/v1", "none"),
        ("http://judge.test:8000/v1", "none"),
        ("http://judge.test.evil.test/v1", "none"),
        ("http://elsewhere.test/v1", "none"),
    ],
)
def test_a_key_goes_to_the_address_it_was_given_for_and_nowhere_else(address, key):
    assert key_for(normalised(address), settings(**KEYS)) == key


def test_the_captions_key_is_not_the_judges_where_the_judge_has_another_address():
    given = settings(**{**KEYS, "judge_api_key": SecretStr("")})
    assert key_for(normalised(URL), given) == "none"


def test_two_judges_on_two_hosts_get_their_own_keys_only(tmp_path):
    wire = Wire()
    panel = wire.panel(tmp_path, with_panel({}), **KEYS)
    panel.preflight()
    panel.judge([question()])
    sent = {(headers["host"], headers["authorization"]) for headers in wire.headers}
    assert sent == {("judge.test", "Bearer key-of-judge"), ("other.test", "Bearer key-of-other")}


def test_the_judges_own_endpoint_goes_before_the_captions(tmp_path):
    wire = Wire()
    wire.judge(tmp_path, question(), **KEYS)
    assert {headers["host"] for headers in wire.headers} == {"judge.test"}


@pytest.mark.parametrize(
    "address", ["judge.test/v1", "ftp://judge.test", "http://", "http://judge.test:port/v1", "", "file:///etc/passwd"]
)
def test_what_is_no_address_is_told(address):
    with pytest.raises(ValueError, match="address"):
        normalised(address)


@pytest.mark.parametrize("address", [f"http://{CANARY}@judge.test/v1", f"http://judge.test/v1?key={CANARY}"])
def test_an_address_with_a_secret_is_refused_without_saying_it(address):
    with pytest.raises(ValueError, match="STORY_JUDGE_KEYS") as caught:
        normalised(address)
    assert CANARY not in str(caught.value)


def echoing(status):
    """Say the key back, as careless gateways do."""
    said = f"the key {CANARY} says: I cannot"
    return lambda _: reply(said) if status == 200 else failure(status, said)


@pytest.mark.parametrize("status", [200, 400, 401, 429, 500])
def test_the_key_is_in_no_ledger_log_message_or_repr(tmp_path, caplog, status):
    caplog.set_level(logging.DEBUG)
    wire = Wire(echoing(status), models=[])
    panel = wire.panel(tmp_path, api_key=SecretStr(CANARY))
    said = [repr(panel), repr(panel.judges)]
    if status == 401:
        with pytest.raises(ValueError, match="denies") as caught:
            panel.preflight()
        said.append(repr(caught.value))
    found = panel.judge([question(), question("More.")])
    said += [found.model_dump_json(), caplog.text]
    said += [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert wire.headers[-1]["authorization"] == f"Bearer {CANARY}"
    assert not [text for text in said if CANARY in text]


def test_a_page_that_echoes_the_key_is_told_without(tmp_path):
    wire = Wire(lambda _: httpx2.Response(200, text=f"<p>{CANARY}</p>"))
    found = wire.judge(tmp_path, question(), api_key=SecretStr(CANARY))
    assert "***" in found.judgements[0].reason


@pytest.mark.parametrize(("status", "words"), [(401, "STORY_JUDGE_KEYS"), (404, "judge-1"), (503, "does not answer")])
def test_what_is_wrong_is_told_in_one_line_before_anything_is_paid(tmp_path, status, words):
    wire = Wire(failure(status), models=["painter"])
    with pytest.raises(ValueError, match=words) as caught:
        wire.panel(tmp_path).preflight()
    assert "\n" not in str(caught.value)


def test_every_judge_is_looked_after(tmp_path):
    wire = Wire(failure(404), models=["judge-1"])
    with pytest.raises(ValueError, match="judge-2"):
        wire.panel(tmp_path, with_panel({})).preflight()


def test_a_judge_that_is_alive_is_asked_nothing_before(tmp_path):
    wire = Wire()
    assert wire.panel(tmp_path).preflight() == []
    assert not wire.asked


def model(**fields):
    return {"id": "judge-1", **fields}


def at(days):
    return int((NOW + timedelta(days=days)).timestamp())


@pytest.mark.parametrize("date", [at(-1), (at(-1)) * 1000, "2026-11-20", "2026-11-20T00:00:00Z", "2026-11-21T00:00:00"])
def test_a_retired_judge_is_an_error(tmp_path, date):
    wire = Wire(models=[model(shutdown_date=date)])
    with pytest.raises(ValueError, match=r"judge-1 was shut down on 2026-11-2[01]"):
        wire.panel(tmp_path).preflight(now=NOW)
    assert not wire.asked


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"shutdown_date": at(54)}, "will be shut down on 2027-01-14, in 54 days"),
        ({"shutdown_date": "2027-01-14"}, "in 54 days"),
        ({"sunset_date": "2026-12-01"}, "in 10 days"),
        ({"shutdown_date": "soon"}, "shutdown_date 'soon'"),
        ({"deprecation": "2026-11-01T12:00:00Z"}, "is deprecated since 2026-11-01"),
        ({"deprecation_date": "2026-12-24"}, "will be deprecated from 2026-12-24"),
        ({"deprecated": True}, "deprecated 'True'"),
    ],
)
def test_a_judge_that_retires_is_a_notice_in_the_result(tmp_path, fields, words):
    panel = Wire(models=[model(**fields)]).panel(tmp_path)
    (notice,) = panel.preflight(now=NOW)
    assert notice.judge == "judge-1"
    assert words in notice.text
    assert panel.judge([question()]).notices == [notice]


@pytest.mark.parametrize(
    "fields",
    [{}, {"shutdown_date": None}, {"shutdown_date": at(91)}, {"deprecated": False}, {"deprecation_date": "2099-01-01"}],
)
def test_a_judge_that_stays_is_no_news(fields):
    assert retirement(model(**fields), NOW) == (False, "")


@pytest.mark.parametrize("date", [float("inf"), 1e300, -1e300, {"a": 1}, [2026], "2026-99-99", True])
def test_a_date_that_is_none_does_not_end_the_evaluation(date):
    retired, text = retirement(model(shutdown_date=date), NOW)
    assert not retired
    assert "shutdown_date" in text


def test_a_retired_judge_whose_answers_are_all_known_still_counts(tmp_path):
    wire = Wire()
    wire.judge(tmp_path, question())
    gone = Wire(failure(404), models=[model(shutdown_date=at(-1))])
    panel = gone.panel(tmp_path)
    assert panel.preflight([question()], now=NOW) == []
    assert statuses(panel.judge([question()])) == ["ok"]
    with pytest.raises(ValueError, match="shut down"):
        panel.preflight([question(), question("More.")], now=NOW)


def test_judged_answers_survive_the_way_through_json(tmp_path):
    found = Wire().judge(tmp_path, question())
    assert type(found).model_validate_json(found.model_dump_json()) == found
    assert json.loads(found.model_dump_json())["bill"][0]["usd"] == USD


def test_a_judges_key_without_its_address_is_told_and_sent_nowhere(tmp_path):
    with pytest.raises(ValueError, match="STORY_JUDGE_BASE_URL alone, which is not set") as caught:
        Wire().panel(tmp_path, judge_api_key=SecretStr("key-of-judge"))
    assert "key-of-judge" not in str(caught.value)


def test_a_judge_that_was_seen_and_goes_away_leaves_statuses_and_no_error(tmp_path):
    wire = Wire(failure(503))
    panel = wire.panel(tmp_path)
    panel.preflight()
    wire.models = ()
    panel.preflight([question()])
    assert statuses(panel.judge([question()])) == ["error"]
