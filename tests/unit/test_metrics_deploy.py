"""Prometheus' rules and Grafana's dashboard in deploy/: they ask for metrics that are exported, and rules pass their
tests."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from serve_app.data_plane.metrics import METRICS, ROLLOUT_STATE
from serve_app.model_metrics import MODEL_METRICS

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "rules.yaml"
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "optagent.json").read_text())
EXPORTED = {
    f"ray_{metric.name}{'_total' if metric.kind == 'counter' else ''}"
    for metric in (*METRICS, *MODEL_METRICS, ROLLOUT_STATE)
}
KNOWN_TAGS = {tag for metric in (*METRICS, *MODEL_METRICS, ROLLOUT_STATE) for tag in metric.tags}


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def queries() -> list[str]:
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]


def expressions() -> list[str]:
    return [*queries(), *(rule["expr"] for rule in rules())]


@pytest.mark.parametrize("expression", expressions())
def test_each_expression_asks_for_what_is_exported(expression: str) -> None:
    names = set(re.findall(r"\bray_optagent_\w+", expression))
    assert names
    assert names <= EXPORTED


@pytest.mark.parametrize("expression", expressions())
def test_each_expression_groups_by_tags_that_exist(expression: str) -> None:
    grouped = {tag.strip() for tags in re.findall(r"\bby \(([^)]*)\)", expression) for tag in tags.split(",")}
    assert grouped <= KNOWN_TAGS


def test_the_dashboard_shows_each_metric_of_models() -> None:
    shown = {name for query in queries() for name in re.findall(r"\bray_optagent_\w+", query)}
    rare = {"audit_entries", "mixture_bound_holds", "model_gates", "model_window_end_seconds"}
    rare |= {"model_window_rows", "model_window_labelled_rows"}
    expected = {f"ray_{metric.name}" for metric in (*MODEL_METRICS, ROLLOUT_STATE)}
    assert expected - shown == {f"ray_optagent_{name}" for name in rare}


def test_each_rule_says_how_severe_it_is_and_what_to_do() -> None:
    for rule in rules():
        assert rule["labels"]["severity"] in ("critical", "warning"), rule["alert"]
        assert set(rule["annotations"]) == {"summary", "description"}, rule["alert"]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")
def test_the_rules_pass_their_own_tests() -> None:
    command = ["promtool", "test", "rules", str(RULES.with_name("rules_test.yaml"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
