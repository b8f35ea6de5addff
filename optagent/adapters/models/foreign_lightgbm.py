"""Foreign LightGBM models: rewrites the text of a model that another program trained into the form of our own.

Columns are named by position and the objective becomes one of ours. Nothing that a prediction depends on changes.
"""

import re

from optagent.domain.model import Task
from optagent.errors import InvalidRequest

_VALUES = frozenset({"regression", "regression_l1", "huber", "fair", "quantile", "mape"})
"""Objectives whose prediction is the sum of the leaves."""
_DROPPED = re.compile(r"^monotone_constraints=.*\n", re.MULTILINE)


def normalise_text(text: str, task: Task) -> str:
    """The text of the model in our form; InvalidRequest, with the reason, if our families cannot express it."""
    head, mark, trees = text.partition("\ntree_sizes=")
    body, end, tail = trees.partition("\nend of trees\n")
    if not mark or not end:
        raise InvalidRequest("not a LightGBM model, or one that is cut short")
    _refuse_unsupported(head, body, tail)
    head = _DROPPED.sub("", f"{head}\n").removesuffix("\n")
    head = re.sub(r"^version=\w+$", "version=v4", head, flags=re.MULTILINE)
    names = _read_field(head, "feature_names").split(" ")
    head = _replace_field(head, "feature_names", " ".join(f"Column_{position}" for position in range(len(names))))
    head = _replace_field(head, "objective", _our_objective(_read_field(head, "objective"), task))
    tail = re.sub(
        r"\nfeature_importances:\n.*?\nparameters:\n", "\nfeature_importances:\n\nparameters:\n", tail, flags=re.S
    )
    tail = re.sub(r"\npandas_categorical:.*", "\npandas_categorical:null", tail, flags=re.S)
    return f"{head}{mark}{body}{end}{tail}\n"


def read_parameters(text: str) -> dict[str, str]:
    """The parameters that the text keeps, by LightGBM's names."""
    return dict(re.findall(r"^\[(\w+): ([^\n]*)\]$", text.partition("\nparameters:\n")[2], flags=re.MULTILINE))


def _refuse_unsupported(head: str, body: str, tail: str) -> None:
    if "\naverage_output" in head:
        raise InvalidRequest("LightGBM's random forests (boosting rf) cannot be imported")
    if re.search(r"^num_cat=(?!0$)", body, flags=re.MULTILINE) or not re.search(
        r"\npandas_categorical:(null|\[\])", tail
    ):
        raise InvalidRequest("a LightGBM model with categorical columns cannot be imported: numeric columns only")
    if re.search(r"^is_linear=(?!0$)", body, flags=re.MULTILINE):
        raise InvalidRequest("LightGBM's linear trees cannot be imported")


def _our_objective(objective: str, task: Task) -> str:
    words = objective.split(" ")
    if task is Task.REGRESSION and words[0] in _VALUES and "sqrt" not in words:
        return "regression"
    if (task is Task.BINARY and objective == "binary sigmoid:1") or (
        task is Task.MULTICLASS and words[0] == "multiclass"
    ):
        return objective
    accepted = {Task.BINARY: ["binary"], Task.MULTICLASS: ["multiclass"], Task.REGRESSION: sorted(_VALUES)}[task]
    raise InvalidRequest(f"a LightGBM model of the objective {objective!r} for a {task} model; one of {accepted}")


def _read_field(head: str, name: str) -> str:
    match = re.search(rf"^{name}=(.*)$", head, flags=re.MULTILINE)
    if match is None:
        raise InvalidRequest(f"not a LightGBM model: it has no {name}")
    return match[1]


def _replace_field(head: str, name: str, value: str) -> str:
    return re.sub(rf"^{name}=.*$", f"{name}={value}", head, flags=re.MULTILINE)
