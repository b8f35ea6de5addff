"""Reference page of gates: the fields, each gate with its requirement, the verdicts and the error rates by strategy."""

from optagent.domain.gate import FILTER_ALPHA, Gates, Verdict
from optagent.domain.strategy import STRATEGIES
from optagent.loop.gates.anchor import ANCHOR
from optagent.loop.gates.bias import BIAS
from optagent.loop.gates.bundle import LATENCY, PARITY, SECURITY, SERVABLE
from optagent.loop.gates.coverage import COVERAGE
from optagent.loop.gates.evaluate import CHAMPION, CONSTANT, SAMPLES
from optagent.serving.parity import TOLERANCE
from reference.nouns import add_fields
from reference.page import ReferencePage, code

_INTRODUCTION = """
A candidate has to pass every gate before it gets a request. Gates are measured on the holdout, which no search saw.
They are the field `gates` of a [policy](policies.md) and of `POST /api/v1/optimization/optimize`. [How gates
decide](../explain/decisions/gates.md) has the statistics.
"""
_GATES = {
    SECURITY: "The files are of formats that hold data only, have the SHA-256 of the manifest, and load in a process "
    "of their own under limits of memory and time. Switched by `enable_security_scan`.",
    SERVABLE: "Loaded by its digest, the bundle says of the holdout what the built model said, to the last bit.",
    PARITY: f"The engine that serves differs from the built model by at most {TOLERANCE:g}.",
    LATENCY: "The 99th percentile of serving one row is at most `max_latency_ms`.",
    SAMPLES: "The holdout has at least `min_validation_samples` rows.",
    "<metric>_min, <metric>_max": "The estimate of the metric is within its limit; with `strict`, its whole interval.",
    f"{BIAS} by <column>": "The groups of a sensitive column differ by at most `max_bias`, in demographic parity and "
    "equalized odds. Switched by `enable_bias_check`.",
    COVERAGE: "90 % intervals that start from the older half of the holdout, and follow its labels, cover 90 % of the "
    "newer half within `max_coverage_gap`, beyond chance; sets of labels may cover more. Only for models with "
    "`intervals: true`.",
    CONSTANT: "The candidate is better than one answer to every row. Switched by `beats_constant`.",
    CHAMPION: "The candidate is better than the champion on the same rows, or no worse by `beats_champion`.",
    ANCHOR: "With `not_worse`, the candidate is no worse than the best champion so far either, so that small losses "
    "do not add up.",
}
_VERDICTS = {
    Verdict.PASS: "the requirement holds; only this promotes",
    Verdict.FAIL: "the requirement does not hold",
    Verdict.INCONCLUSIVE: "the rows do not tell, or the gate could not be judged",
    Verdict.ERROR: "a statistic is missing or is no number, or the judging raised an error",
}


def gates_page() -> ReferencePage:
    page = ReferencePage("Gates", _INTRODUCTION.strip())
    page.add_heading("Each gate")
    page.add_meanings("gate", "passes where", _GATES, _GATES)
    page.add_heading("Fields")
    add_fields(page, Gates, {"metrics_min": "<metric>_min", "metrics_max": "<metric>_max"})
    page.add_heading("Verdicts")
    page.add_text("The verdict of all gates together is the worst one: an error, a failure, inconclusive, a pass.")
    page.add_meanings("verdict", "meaning", Verdict, _VERDICTS)
    page.add_heading("Error rates by strategy")
    page.add_text(
        "All looks of a model in a year, and all looks at the same rows, share one `alpha`. Where shadow judges the "
        f"candidate after the gate, the gate is a filter at {FILTER_ALPHA:g}, one-sided, and spends nothing."
    )
    rows = [[code(name), f"{each.alpha:g}", f"{each.margin:g}"] for name, each in STRATEGIES.items()]
    page.add_table(["strategy", "alpha", "margin of no worse (share of the champion's score)"], rows)
    return page
