import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optagent.codec import decode, encode
from optagent.domain.gate import Verdict
from optagent.domain.rollout import Rollout, abort, advance, begin, promote, rollback, shadow_version, shares
from optagent.domain.rollout_look import GuardrailReading, Look, RolloutState, SampleRatio
from optagent.domain.rollout_policy import AlphaSplit, RolloutPolicy, Traffic, policy_of, suit_policy
from optagent.domain.strategy import strategy_named
from optagent.domain.study import Interval
from optagent.errors import Conflict, InvalidRequest

POLICY = RolloutPolicy(margin=0.01, ramp_margin=0.05, min_rows=1_000, horizon_rows=20_000, baking_s=600.0)
ALPHAS = {
    RolloutState.SHADOW: POLICY.shadow_alpha,
    RolloutState.RAMP: POLICY.ramp_alpha,
    RolloutState.BAKING: POLICY.baking_alpha,
}
HEALTHY = tuple(GuardrailReading(name, limit, 500, 0.0, 1.0) for name, limit in POLICY.guardrails.items())


def new(**changes):
    return begin("r1", "churn", "3", "4", replace(POLICY, **changes), 0.0, "ana")


def look(rollout, low=0.1, high=0.2, rows=2_000, look_id=None, **changes):
    """A healthy look of the rollout's state with an improvement of these bounds."""
    state = rollout.state
    healthy = Look(
        look_id or f"look{len(rollout.looks)}-{len(rollout.transitions)}",
        at=1.0,
        state=state,
        step=rollout.step,
        rows=rows,
        step_rows=rows,
        improvement=Interval((low + high) / 2, low, high, ALPHAS.get(state, 0.001)),
        guardrails=HEALTHY,
        sample_ratio=SampleRatio(rows, 0.05, 0.05, 0.5) if state is RolloutState.RAMP else None,
    )
    return replace(healthy, **changes)


def at(state, **changes):
    """A rollout that good looks, or people, have led to a state."""
    rollout = new(**changes)
    if state is RolloutState.ABORTED:
        return abort(rollout, "ana", "changed my mind", 1.0)
    if state is RolloutState.ROLLED_BACK:
        return advance(rollout, look(rollout, -0.3, -0.2), 1.0)
    if state is RolloutState.INCONCLUSIVE:
        return advance(rollout, look(rollout, -0.1, 0.1, rows=20_000), 1.0)
    now = 0.0
    while rollout.state is not state:
        now += 1_000.0
        rollout = advance(rollout, look(rollout), now)
    return rollout


def test_good_looks_lead_from_shadow_over_the_ramp_to_the_champions_place():
    rollout, stages = new(), []
    for hour in range(1, 6):
        stages.append((rollout.state, shares(rollout), shadow_version(rollout)))
        rollout = advance(rollout, look(rollout), hour * 3600.0)

    assert stages == [
        (RolloutState.SHADOW, {"3": 1.0}, "4"),
        (RolloutState.RAMP, {"3": 0.95, "4": 0.05}, None),
        (RolloutState.RAMP, {"3": 0.75, "4": 0.25}, None),
        (RolloutState.RAMP, {"3": 0.5, "4": 0.5}, None),
        (RolloutState.BAKING, {"4": 1.0}, "3"),
    ]
    assert rollout.state is RolloutState.PROMOTED
    assert shares(rollout) == {"4": 1.0}
    assert shadow_version(rollout) is None
    assert rollout.changed_at == 5 * 3600.0
    assert [judged.verdict for judged in rollout.looks] == [Verdict.PASS] * 5
    assert [change.look_id for change in rollout.transitions] == [None, *(each.look.look_id for each in rollout.looks)]


def test_without_a_ramp_shadow_leads_to_the_champions_place():
    rollout = new(ramp=())

    assert advance(rollout, look(rollout), 1.0).state is RolloutState.BAKING


def test_without_shadow_the_ramp_comes_first():
    assert new(shadow=False).state is RolloutState.RAMP


@pytest.mark.parametrize("state", [RolloutState.SHADOW, RolloutState.RAMP, RolloutState.BAKING])
@pytest.mark.parametrize("harm", ["improvement", "guardrail", "sample ratio"])
def test_harm_rolls_back_at_once(state, harm):
    rollout = at(state)
    worse = {
        "improvement": {"improvement": Interval(-0.2, -0.3, -0.1, ALPHAS[state])},
        "guardrail": {"guardrails": (replace(HEALTHY[0], rate=1.0, rows=8, e_value=1e6), HEALTHY[1])},
        "sample ratio": {"sample_ratio": SampleRatio(9_000, 0.5, 0.45, 1e6)},
    }[harm]
    after = advance(rollout, look(rollout, **worse), 1e4)

    assert after.state is RolloutState.ROLLED_BACK
    assert shares(after) == {"3": 1.0}
    assert shadow_version(after) is None
    assert after.looks[-1].verdict is Verdict.FAIL
    assert after.transitions[-1].reason == after.looks[-1].reason


def test_evidence_without_end_is_an_alarm_that_json_can_hold():
    rollout = new()
    after = advance(rollout, look(rollout, guardrails=(replace(HEALTHY[0], rate=1.0, e_value=math.inf),)), 1.0)

    assert after.state is RolloutState.ROLLED_BACK
    assert decode(Rollout, encode(after)) == after


def test_a_guardrail_rolls_back_before_there_is_anything_to_compare():
    rollout = new()
    failing = (replace(HEALTHY[0], rate=1.0, rows=8, e_value=1e6),)
    after = advance(rollout, look(rollout, rows=0, improvement=None, guardrails=failing), 1.0)

    assert after.state is RolloutState.ROLLED_BACK
    assert after.transitions[-1].reason == "errors: rate 1 above 0.01, e-value 1e+06"


def test_no_guardrail_rolls_back_while_its_rate_keeps_the_limit():
    rollout = new()
    after = advance(rollout, look(rollout, guardrails=(replace(HEALTHY[0], e_value=1e6), HEALTHY[1])), 1.0)

    assert after.state is RolloutState.RAMP


def test_a_rollout_of_the_rules_of_before_is_judged_by_them():
    rollout = replace(new(), rules=1)
    after = advance(rollout, look(rollout, guardrails=(replace(HEALTHY[0], e_value=1e6), HEALTHY[1])), 1.0)

    assert after.state is RolloutState.ROLLED_BACK


def test_an_alarm_that_comes_after_the_step_has_changed_still_counts():
    before = new()
    late = look(before, look_id="late", guardrails=(replace(HEALTHY[0], rate=1.0, e_value=1e6),))

    assert advance(at(RolloutState.RAMP), late, 1e4).state is RolloutState.ROLLED_BACK


def test_a_good_look_at_an_earlier_step_promotes_nothing():
    ramp = at(RolloutState.RAMP)
    late = look(ramp, look_id="late")
    second = advance(ramp, look(ramp), 1e4)

    assert second.step == 1
    assert advance(second, late, 1e4).step == 1
    assert advance(second, look(new(), look_id="of shadow"), 1e4).step == 1


MISSING = {
    "no improvement": {"improvement": None},
    "improvement is nan": {"improvement": Interval(math.nan, math.nan, math.nan, POLICY.ramp_alpha)},
    "no high": {"improvement": Interval(0.1, 0.1, math.nan, POLICY.ramp_alpha)},
    "no guardrails": {"guardrails": ()},
    "one guardrail": {"guardrails": HEALTHY[:1]},
    "guardrail is nan": {"guardrails": (HEALTHY[0], replace(HEALTHY[1], e_value=math.nan))},
    "guardrail saw nothing": {"guardrails": (HEALTHY[0], replace(HEALTHY[1], rows=0))},
    "no sample ratio": {"sample_ratio": None},
    "sample ratio is nan": {"sample_ratio": SampleRatio(9_000, 0.5, 0.5, math.nan)},
}


@pytest.mark.parametrize("changes", MISSING.values(), ids=list(MISSING))
def test_what_is_missing_or_no_number_never_promotes(changes):
    ramp = new(shadow=False)
    after = advance(ramp, look(ramp, **changes), 1e4)

    assert (after.state, after.step) == (RolloutState.RAMP, 0)
    assert after.looks[-1].verdict is Verdict.ERROR
    assert decode(Rollout, encode(after)) == after


@pytest.mark.parametrize("changes", [{"guardrails": ()}, {"guardrails": (replace(HEALTHY[0], e_value=None),)}])
def test_baking_does_not_end_while_nobody_watches(changes):
    baking = at(RolloutState.BAKING)

    assert advance(baking, look(baking, **changes), 1e5).state is RolloutState.BAKING


def test_baking_ends_when_its_time_is_over_and_not_before():
    baking = at(RolloutState.BAKING)
    early = advance(baking, look(baking, improvement=None), baking.changed_at + 599)

    assert early.state is RolloutState.BAKING
    assert advance(early, look(early, improvement=None), baking.changed_at + 600).state is RolloutState.PROMOTED


def test_too_few_rows_neither_promote_nor_condemn():
    shadow = new()
    for low, high in [(0.1, 0.2), (-0.2, -0.1)]:
        assert advance(shadow, look(shadow, low, high, rows=999), 1.0).state is RolloutState.SHADOW


def test_a_lower_bound_above_the_margin_is_no_worse():
    shadow = new()

    assert advance(shadow, look(shadow, -0.009, 0.1), 1.0).state is RolloutState.RAMP
    assert advance(shadow, look(shadow, -0.01, 0.1), 1.0).state is RolloutState.SHADOW


def test_after_shadow_each_step_of_the_ramp_asks_for_rows_without_harm_and_no_other_proof():
    ramp = at(RolloutState.RAMP)
    few = advance(ramp, look(ramp, improvement=None, step_rows=999), 1e4)
    enough = advance(ramp, look(ramp, improvement=None), 1e4)

    assert (few.step, few.looks[-1].reason) == (0, "999 rows of 1000")
    assert (enough.step, enough.looks[-1].reason) == (1, "no harm in 2000 rows of this step")


def test_patience_is_that_of_a_state_and_of_a_step():
    ramp = at(RolloutState.RAMP)
    late = ramp.changed_at + POLICY.max_duration_s
    waiting = advance(ramp, look(ramp, step_rows=1), late)
    over = advance(ramp, look(ramp, step_rows=1), late + 1)

    assert (waiting.state, over.state) == (RolloutState.RAMP, RolloutState.INCONCLUSIVE)


@pytest.mark.parametrize("rows_a_day", [5, 48, 300, 2_000, 20_000])
def test_rows_and_times_follow_from_the_traffic(rows_a_day):
    traffic = Traffic(rows_a_day)
    suited = suit_policy(replace(RolloutPolicy(), label_delay_s=86_400.0), traffic, ())

    assert 50 <= suited.min_rows <= 1_000
    assert suited.max_duration_s >= max(14 * 86_400, traffic.seconds_for(3_000))
    assert suited.baking_s >= 86_400 + traffic.seconds_for(200) * 0.999
    assert suited.block_s == 86_400
    assert 50 <= suited.step_rows <= suited.min_rows


def test_a_rollout_that_could_not_end_is_refused_with_its_numbers():
    chosen = {"min_rows": 1_000, "max_duration_s": 14 * 86_400.0}
    with pytest.raises(InvalidRequest, match=r"at 48 rows a day, labels of min_rows 1000 take 20\.8 days"):
        suit_policy(RolloutPolicy(**chosen), Traffic(48), chosen)


def test_a_small_step_may_leave_more_open_than_a_large_one():
    assert [POLICY.step_margin(step) for step in range(3)] == pytest.approx([0.5, 0.1, 0.05])
    first = new(shadow=False)
    second = advance(first, look(first, -0.3, 0.3), 1e4)

    assert second.step == 1
    assert advance(second, look(second, -0.3, 0.3), 1e4).step == 1


@pytest.mark.parametrize(("state", "rows"), [(RolloutState.SHADOW, 20_000), (RolloutState.RAMP, 500_000)])
def test_the_horizon_ends_what_is_still_open(state, rows):
    rollout = new(shadow=state is RolloutState.SHADOW)
    after = advance(rollout, look(rollout, -0.9, 0.9, rows=rows), 1e4)

    assert after.state is RolloutState.INCONCLUSIVE
    assert f"{rows} rows were looked at" in after.transitions[-1].reason
    assert shares(after) == {"3": 1.0}


@pytest.mark.parametrize("state", [RolloutState.SHADOW, RolloutState.RAMP, RolloutState.BAKING])
def test_time_ends_what_is_still_open(state):
    rollout = at(state)
    after = advance(rollout, look(rollout, improvement=None, guardrails=()), 20 * 86400.0)

    assert after.state is RolloutState.INCONCLUSIVE
    assert shares(after) == {"3": 1.0}


def test_the_same_look_twice_changes_nothing():
    shadow = new()
    once = advance(shadow, look(shadow, look_id="a"), 1.0)

    assert advance(once, look(shadow, look_id="a"), 2.0) is once
    ended = at(RolloutState.ROLLED_BACK)
    assert advance(ended, ended.looks[-1].look, 9.0) is ended


@pytest.mark.parametrize("state", [state for state in RolloutState if not state.is_active])
def test_what_has_ended_takes_no_more_looks(state):
    ended = at(state)

    with pytest.raises(Conflict, match=f"r1 is {state}, it takes no more looks"):
        advance(ended, look(new(), look_id="new"), 1e6)


LEGAL = {
    promote: {
        RolloutState.SHADOW: RolloutState.BAKING,
        RolloutState.RAMP: RolloutState.BAKING,
        RolloutState.BAKING: RolloutState.PROMOTED,
    },
    abort: {RolloutState.SHADOW: RolloutState.ABORTED, RolloutState.RAMP: RolloutState.ABORTED},
    rollback: {
        RolloutState.BAKING: RolloutState.ROLLED_BACK,
        RolloutState.PROMOTED: RolloutState.ROLLED_BACK,
    },
}


@pytest.mark.parametrize("state", list(RolloutState))
@pytest.mark.parametrize("verb", list(LEGAL), ids=lambda verb: verb.__name__)
def test_people_move_a_rollout_where_that_makes_sense_and_nowhere_else(verb, state):
    rollout = at(state)
    target = LEGAL[verb].get(state)
    if target is None:
        with pytest.raises(Conflict, match=f"r1 is {state}"):
            verb(rollout, "ana", "because", 1e5)
        return
    after = verb(rollout, "ana", "because", 1e5)

    assert after.state is target
    last = after.transitions[-1]
    assert (last.at, last.by, last.reason, last.look_id) == (1e5, "ana", "because", None)


@settings(max_examples=100, deadline=None)
@given(
    bounds=st.lists(
        st.tuples(st.floats(allow_nan=True), st.floats(allow_nan=True), st.integers(0, 30_000)), max_size=12
    )
)
def test_whatever_is_seen_one_version_or_two_answer_all_requests(bounds):
    rollout = new()
    for now, (low, high, rows) in enumerate(bounds):
        if not rollout.state.is_active:
            break
        rollout = advance(rollout, look(rollout, low, high, rows), now * 1_000.0)

        assert sum(shares(rollout).values()) == pytest.approx(1)
        assert set(shares(rollout)) <= {"3", "4"}


def test_a_rollout_is_kept_as_json_and_goes_on_from_there():
    rollout = at(RolloutState.PROMOTED)

    assert decode(Rollout, encode(rollout)) == rollout


def test_evidence_made_by_other_rules_is_refused():
    shadow = new()
    with pytest.raises(InvalidRequest, match=r"has alpha 0\.06, shadow may spend 0\.05"):
        advance(shadow, look(shadow, improvement=Interval(0.1, 0.1, 0.1, 0.06)), 1.0)
    with pytest.raises(InvalidRequest, match=r"guardrail errors with limit 0\.5 is none of"):
        advance(shadow, look(shadow, guardrails=(replace(HEALTHY[0], limit=0.5),)), 1.0)
    with pytest.raises(InvalidRequest, match="a look cannot be of promoted"):
        advance(shadow, look(shadow, state=RolloutState.PROMOTED), 1.0)


def test_the_risks_of_all_parts_sum_to_alpha_at_most():
    spent = POLICY.shadow_alpha + POLICY.ramp_alpha + POLICY.baking_alpha + POLICY.sample_ratio_alpha

    assert spent + len(POLICY.guardrails) * POLICY.guardrail_alpha <= POLICY.alpha * (1 + 1e-9)


def test_a_strategy_stands_for_a_policy():
    careful, bold = (policy_of(strategy_named(name), 0.4) for name in ("conservative", "aggressive"))

    assert (careful.alpha, careful.margin, careful.ramp_margin) == pytest.approx((0.01, 0.0, 0.02))
    assert (bold.alpha, bold.margin, bold.ramp_margin) == pytest.approx((0.1, 0.008, 0.02))
    with pytest.raises(InvalidRequest, match="got nan"):
        policy_of(strategy_named("balanced"), math.nan)


def test_margins_grow_with_the_spread_of_the_losses():
    alike, rare = (policy_of(strategy_named("balanced"), 0.01, spread) for spread in (0.01, 0.09))

    assert alike.margin == pytest.approx(0.01 * 0.01)
    assert rare.margin == pytest.approx(3 * alike.margin)
    with pytest.raises(InvalidRequest, match="spread of losses must be a number that is not negative, got -1"):
        policy_of(strategy_named("balanced"), 0.01, -1.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alpha": 0.0}, "alpha must be between 0 and 1, got 0.0"),
        ({"margin": -0.1}, "margin must not be negative, got -0.1"),
        ({"ramp_margin": math.nan}, "ramp_margin must not be negative, got nan"),
        ({"ramp": (0.5, 0.25)}, "the shares of ramp must be between 0 and 1 and rise"),
        ({"ramp": (0.5, 1.0)}, "the shares of ramp must be between 0 and 1 and rise"),
        ({"ramp": (), "shadow": False}, "a rollout needs shadow, a ramp or both"),
        ({"min_rows": 0}, "min_rows must be between 1 and the horizons, got 0"),
        ({"block": 0}, "block must be between 1 and 20000, got 0"),
        ({"guardrails": {"errors": 0.0}}, "guardrails: errors must be between 0 and 1, got 0.0"),
        ({"baking_s": -1.0}, "max_duration_s must be above baking_s"),
    ],
)
def test_rules_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(InvalidRequest, match=message):
        replace(POLICY, **changes)


def test_no_part_spends_more_than_there_is():
    with pytest.raises(InvalidRequest, match="the parts of alpha"):
        AlphaSplit(shadow=0.9)


def test_the_champion_is_no_candidate():
    with pytest.raises(InvalidRequest, match="version 3 is the champion already"):
        begin("r1", "churn", "3", "3", POLICY, 0.0, "ana")
