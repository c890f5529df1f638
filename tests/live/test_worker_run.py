"""The worker where something lies: answers that are not ActiveCampaign's, waiting, a file in
motion, clocks, locks."""
import email.utils
import json
import os
import signal
import time

import harness
import pytest
from simulator import Worker, as_set, stanza, url, wanted
from test_worker import make_worker, metric, ours, running, sim  # noqa: F401 fixtures


# --- answers -------------------------------------------------------------------------------

CHALLENGE = "<!DOCTYPE html><html><head><title>Just a moment...</title></head></html>"
BLOCKED = '{"title":"Error 1020: Access denied","status":403,"cloudflare_error":true}'


@pytest.mark.parametrize("status, body", [
    (403, CHALLENGE), (403, "error code: 1020"), (401, CHALLENGE), (403, ""), (403, BLOCKED),
    (401, '"Forbidden"'), (403, "{\"message\":\"cut off"),
])
def test_a_refusal_in_other_words_is_not_blamed_on_the_token(sim, make_worker, status, body):
    worker = make_worker()
    for command in ("plan", "apply"):
        sim.answer(status, body, count=100)
        told = worker.run(command, code=69, seconds=30)
        assert f"in front of ActiveCampaign answers {status}" in told
        assert "refuses the API token" not in told and "may not manage" not in told


def test_a_challenge_that_only_users_me_meets_is_not_blamed_on_the_token(sim, make_worker):
    worker = make_worker()
    sim.switch(forbid=1, me_html=1)
    assert "in front of ActiveCampaign" in worker.run("plan", code=69)


@pytest.mark.parametrize("body", ['{"message":"Forbidden"}', "{}", '{"errors":["Forbidden"]}'])
def test_a_refusal_in_activecampaigns_words_is_the_token(sim, make_worker, body):
    sim.answer(403, body, count=100)
    assert "refuses the API token" in make_worker().run("plan", code=77)


# --- waiting -------------------------------------------------------------------------------

def test_a_command_says_what_it_waits_for_and_ends(sim, make_worker, monkeypatch):
    monkeypatch.setenv("ACRELAY_TEST_TIMES", "api-backoff=100")
    sim.answer(522, "error code: 522", count=100)
    told = make_worker().run("plan", code=69, seconds=60)
    assert "ActiveCampaign answers 522; trying again in" in told and "(2 of 5)" in told
    assert "error code: 522" in told
    assert len(sim.log()) == 5


def test_a_slow_answer_is_told_while_it_is_waited_for(sim, make_worker):
    sim.switch(slow=1, slow_ms=3000)
    assert "slow to answer" in make_worker().run("list")


@pytest.mark.parametrize("form", ["imf", "850", "asctime", "6.5", "3, 3"])
def test_retry_after_is_obeyed_in_every_form_by_the_answers_own_clock(sim, make_worker, form):
    """That clock is a day ahead of ours."""
    now = int(time.time()) + 86400
    then = time.gmtime(now + 3)
    value = {"imf": email.utils.formatdate(now + 3, usegmt=True),
             "850": time.strftime("%A, %d-%b-%y %H:%M:%S GMT", then),
             "asctime": time.strftime("%a %b %e %H:%M:%S %Y", then),
             "6.5": "3.5"}.get(form, form)
    sim.answer(429, "{}", Retry_After=value, Date=email.utils.formatdate(now, usegmt=True))
    told = make_worker().run("plan")
    assert "ActiveCampaign answers 429; trying again in 3" in told
    first, second = sim.log()[:2]
    assert second["us"] - first["end_us"] >= 2900000


def test_a_retry_after_that_is_too_long_for_a_command_ends_it(sim, make_worker):
    sim.answer(429, "{}", count=100, Retry_After="86400")
    told = make_worker().run("plan", code=69, seconds=30)
    assert "429" in told and "15 min" in told
    assert len(sim.log()) == 1


def test_a_limit_that_is_used_up_is_waited_for_until_its_reset(sim, make_worker):
    sim.answer(200, '{"webhooks":[],"meta":{"total":"0"}}', RateLimit_Remaining="0",
               RateLimit_Reset="3")
    told = make_worker().run("plan")
    assert "rate limit is used up" in told
    first, second = sim.log()[:2]
    assert second["us"] - first["end_us"] >= 2900000
