"""The dry run: what would be asked and what it would cost, without a network."""

import socket

import pytest
from judge_wire import CONFIG, URL, Wire, question

from evaluation.judging.estimate import picture_tokens
from evaluation.judging.panel import open_panel
from evaluation.judging.plan import plan, plan_lines
from story_model.config import Settings

SETTINGS = Settings(_env_file=None, api_base_url=URL)


def planned(folder, questions, config=CONFIG, settings=SETTINGS):
    panel = open_panel(config, settings, folder / "run" / "judge", offline=True)
    assert not isinstance(panel, str), panel
    return plan(panel, questions)


def test_what_is_in_the_ledger_is_not_planned(tmp_path):
    Wire().judge(tmp_path, question())
    (row,) = planned(tmp_path, [question(), question("More."), question("More.")])
    assert (row.questions, row.in_ledger, row.to_ask) == (3, 2, 1)


def test_a_plan_says_what_the_run_then_asks(tmp_path):
    asked = [question(), question(dimension="coherence"), question(repeat=1), question()]
    (row,) = planned(tmp_path, asked)
    (bill,) = Wire().judge(tmp_path, *asked).bill
    assert (row.to_ask, row.in_ledger) == (bill.newly_paid, bill.from_ledger)
    assert planned(tmp_path, asked)[0].to_ask == 0


def test_a_plan_needs_no_network_and_writes_nothing(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a dry run opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    settings = SETTINGS.model_copy(update={"store": "s3://no-such-bucket/x"})
    planned(tmp_path, [question()], settings=settings)
    assert not list(tmp_path.iterdir())


def test_the_price_is_of_the_tokens_and_half_in_a_batch(tmp_path):
    (row,) = planned(tmp_path, [question()])
    assert row.usd == pytest.approx((row.prompt_tokens * 10 + row.completion_tokens * 50) / 1e6)
    (batched,) = planned(tmp_path, [question()], CONFIG.model_copy(update={"batch": True}))
    assert batched.usd == row.usd / 2


def test_a_longer_text_costs_a_quarter_token_a_letter(tmp_path):
    short, long = (planned(tmp_path, [question("a" * length)])[0].prompt_tokens for length in (4, 404))
    assert long - short == 100


@pytest.mark.parametrize(
    ("size", "tokens"),
    [((8, 8), 255), ((512, 512), 255), ((512, 288), 255), ((1024, 1024), 765), ((2048, 4096), 1105), ((4096, 8), 765)],
)
def test_a_pictures_tokens_follow_the_guides_examples(size, tokens):
    assert picture_tokens(*size) == tokens


def test_the_table_names_every_judge_and_says_that_it_is_an_estimate(tmp_path):
    free = CONFIG.model_copy(
        update={"panel": type(CONFIG)(panel=[{"model": "judge-2", "address": "http://other.test/v1"}]).panel}
    )
    lines = plan_lines(planned(tmp_path, [question()], free), budget_usd=1e-6)
    assert [line.split()[0] for line in lines[:3]] == ["judge", "judge-1", "judge-2"]
    assert "no price" in lines[2]
    assert "estimate" in lines[3]
    assert "budget" in lines[4]


def test_a_budget_that_suffices_is_not_mentioned(tmp_path):
    assert "budget" not in "\n".join(plan_lines(planned(tmp_path, [question()]), budget_usd=100))
