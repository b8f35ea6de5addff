"""Reference page of policies: the fields of a policy and of a rollout, and the ready-made ones side by side."""

from collections.abc import Mapping
from typing import Any

from optagent.domain.policy import POLICIES, REMEDIES, STAGES, Action, RetrainingPolicy, Trigger
from optagent.domain.rollout_policy import RolloutPolicy
from optagent.domain.strategy import STRATEGIES, Strategy
from reference.nouns import add_fields, field_entries, value_text
from reference.page import ReferencePage, code, codes

_INTRODUCTION = """
A policy says when a model is optimized without a request, and how far a candidate may go. It is the field `policy` of a
[model.yaml](model-yaml.md): a name, or fields. Fields that are left out have the defaults below, which are those of no
name.
"""
_TRIGGERS = {
    Trigger.DEGRADATION: "an alert of a metric that fell by more than its threshold",
    Trigger.DRIFT: "an alert of drifted features or predictions",
    Trigger.CONCEPT_DRIFT: "an alert of a changed relation between features and labels",
    Trigger.CONFIDENCE: "an alert of unsure predictions",
    Trigger.SCHEDULE: "the time `every` since the last training",
    Trigger.NEW_LABELS: "`min_new_labels` labelled rows since the last training",
    Trigger.GROWTH: "rows that grew by the share `growth` since the largest slot was trained; for mixtures",
    Trigger.MANUAL: "a request, which needs no policy: it is not written into one",
}
_ACTIONS = {
    Action.NOTIFY: "people are told",
    Action.CANDIDATE: "a candidate is trained and gated, and becomes `challenger`",
    Action.SHADOW: "it also competes in shadow, and waits there for a person",
    Action.FULL: "it also goes on to become champion",
}


def policies_page() -> ReferencePage:
    page = ReferencePage("Policies", _INTRODUCTION.strip())
    page.add_heading("Ready-made policies")
    _add_side_by_side(page, RetrainingPolicy, POLICIES)
    page.add_heading("Fields of a policy")
    add_fields(page, RetrainingPolicy)
    page.add_heading("Triggers")
    page.add_meanings("trigger", "is due by", Trigger, _TRIGGERS)
    page.add_heading("Actions")
    page.add_meanings("action", "meaning", Action, _ACTIONS)
    _add_stages(page)
    page.add_heading("Strategies")
    _add_side_by_side(page, Strategy, STRATEGIES)
    add_fields(page, Strategy)
    page.add_heading("Fields of a rollout")
    page.add_text(
        "The field `rollout` of a policy, and `--policy NAME=VALUE` of `optagent rollout start`. Margins follow from "
        "the strategy and the champion's loss; rows and times from the model's recorded traffic, unless they are given."
    )
    add_fields(page, RolloutPolicy)
    return page


def _add_stages(page: ReferencePage) -> None:
    page.add_heading("Optimization types")
    rows = [[code(kind), codes(stages)] for kind, stages in STAGES.items()]
    page.add_table(["type", "stages"], [*rows, ["`auto`", "those of the remedy that the diagnosis names"]])
    rows = [[code(remedy), codes(stages)] for remedy, stages in REMEDIES.items()]
    page.add_table(["remedy", "stages"], rows)


def _add_side_by_side(page: ReferencePage, noun: type[Any], by_name: Mapping[str, Any]) -> None:
    """A table of a noun's fields with a column for each of its named objects."""
    rows = []
    for entry in field_entries(noun):
        values = [value_text(getattr(named, entry.name)) for named in by_name.values()]
        if entry.name != "name":
            rows.append([code(entry.name), *(code(value) for value in values)])
    page.add_table(["field", *by_name], rows)
