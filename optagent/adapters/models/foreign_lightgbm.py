"""The text of a LightGBM model that something else trained, as our own are written: columns by position, one objective.

Nothing that a prediction depends on is changed.
"""

import re

from optagent.domain.model import Task
from optagent.errors import InvalidRequest

_VALUES = frozenset({"regression", "regression_l1", "huber", "fair", "quantile", "mape"})
"""Objectives whose prediction is the sum of the leaves, so that they predict alike."""
_DROPPED = re.compile(r"^monotone_constraints=.*\n", re.MULTILINE)


def as_ours(text: str, task: Task) -> str:
    """Raises InvalidRequest, with the reason, for what our encoding or our families cannot express."""
    head, mark, trees = text.partition("\ntree_sizes=")
    body, end, tail = trees.partition("\nend of trees\n")
    if not mark or not end:
        raise InvalidRequest("not a LightGBM model, or one that is cut short")
    _refuse_unsupported(head, body, tail)
    head = _DROPPED.sub("", f"{head}\n").removesuffix("\n")
    head = re.sub(r"^version=\w+$", "version=v4", head, flags=re.MULTILINE)
    names = _field(head, "feature_names").split(" ")
    head = _replaced(head, "feature_names", " ".join(f"Column_{position}" for position in range(len(names))))
    head = _replaced(head, "objective", _objective(_field(head, "objective"), task))
    tail = re.sub(
        r"\nfeature_importances:\n.*?\nparameters:\n", "\nfeature_importances:\n\nparameters:\n", tail, flags=re.S
    )
    tail = re.sub(r"\npandas_categorical:.*", "\npandas_categorical:null", tail, flags=re.S)
    return f"{head}{mark}{body}{end}{tail}\n"


def parameters(text: str) -> dict[str, str]:
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


def _objective(found: str, task: Task) -> str:
    words = found.split(" ")
    if task is Task.REGRESSION and words[0] in _VALUES and "sqrt" not in words:
        return "regression"
    if (task is Task.BINARY and found == "binary sigmoid:1") or (task is Task.MULTICLASS and words[0] == "multiclass"):
        return found
    known = {Task.BINARY: ["binary"], Task.MULTICLASS: ["multiclass"], Task.REGRESSION: sorted(_VALUES)}[task]
    raise InvalidRequest(f"a LightGBM model of the objective {found!r} for a {task} model; one of {known}")


def _field(head: str, name: str) -> str:
    found = re.search(rf"^{name}=(.*)$", head, flags=re.MULTILINE)
    if found is None:
        raise InvalidRequest(f"not a LightGBM model: it has no {name}")
    return found[1]


def _replaced(head: str, name: str, value: str) -> str:
    return re.sub(rf"^{name}=.*$", f"{name}={value}", head, flags=re.MULTILINE)
