"""Reference page of model.yaml: every field, and the families, parameters and metrics that it may name."""

from optagent.domain.dataset import FileSource, SqlSource
from optagent.domain.fold_scheme import FoldScheme
from optagent.domain.history import HistorySpec
from optagent.domain.model import ModelSpec, Task
from optagent.domain.monitoring import Monitoring
from optagent.domain.space import Categorical, Parameter
from optagent.domain.trading import Trading
from optagent.training.families.family import Family
from optagent.training.families.registry import FAMILIES
from optagent.training.metrics import METRICS, default_metric
from reference.nouns import add_fields, value_text
from reference.page import ReferencePage, code, codes

_INTRODUCTION = """
The file that describes a model: `optagent register model.yaml` checks it and reads the rows. Over HTTP and in Python
the same fields are JSON and a mapping. An unknown field, column, family, metric or parameter is refused, and the
message lists the known ones.
"""
_DATA = """
`data` is a path, glob or URI as plain text, or a mapping of one of these two forms. In Python, `id` may be written
`model_id`.
"""


def model_yaml_page() -> ReferencePage:
    page = ReferencePage("model.yaml", _INTRODUCTION.strip())
    page.add_heading("Fields")
    add_fields(page, ModelSpec, {"model_id": "id"})
    page.add_heading("data")
    page.add_text(_DATA)
    for source in (FileSource, SqlSource):
        add_fields(page, source)
    page.add_heading("folds")
    page.add_text("A number, or a mapping: [validation of a trading model](../explain/trading-validation.md).")
    add_fields(page, FoldScheme)
    page.add_heading("monitoring")
    page.add_text("The fields of `monitoring`. Without it, the settings of the same names hold.")
    add_fields(page, Monitoring)
    page.add_heading("trading", 3)
    page.add_text("The fields of `monitoring: trading`.")
    add_fields(page, Trading)
    page.add_heading("history")
    page.add_text("The fields of `history`: see [lags and rolling means](../how-to/history.md).")
    add_fields(page, HistorySpec)
    page.add_heading("policy")
    page.add_text("A name, or fields: see [policies](policies.md).")
    _add_families(page)
    _add_metrics(page)
    return page


def _add_families(page: ReferencePage) -> None:
    page.add_heading("families and search_space")
    page.add_text("The parameters that a search varies by default. `search_space` changes their ranges or fixes them.")
    for family in FAMILIES.values():
        page.add_heading(family.name, 3)
        page.add_text(f"For {codes(task for task in Task if family.supports(task))} models.")
        page.add_table(["parameter", "range", "library's default"], _parameter_rows(family))


def _parameter_rows(family: Family) -> list[list[str]]:
    """The parameters of all tasks, each once, as in the first task that has it."""
    rows: dict[str, list[str]] = {}
    for task in Task:
        defaults = family.defaults(task) if family.supports(task) else {}
        for parameter in family.space(task).parameters if family.supports(task) else ():
            shown = [code(parameter.name), _range_text(parameter), value_text(defaults.get(parameter.name))]
            rows.setdefault(parameter.name, shown)
    return list(rows.values())


def _range_text(parameter: Parameter) -> str:
    if isinstance(parameter, Categorical):
        return codes(parameter.choices)
    return f"{parameter.low:g} to {parameter.high:g}{', by its logarithm' if parameter.log else ''}"


def _add_metrics(page: ReferencePage) -> None:
    page.add_heading("metric")
    defaults = {task: default_metric(task) for task in Task}
    page.add_text("Defaults: " + ", ".join(f"{code(name)} for {task}" for task, name in defaults.items()) + ".")
    rows = [
        [code(metric.name), "higher" if metric.maximize else "lower", codes(metric.tasks)]
        for metric in METRICS.values()
    ]
    page.add_table(["metric", "better is", "tasks"], rows)
