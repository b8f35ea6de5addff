"""Model text: an outline as a commented model.yaml, whose lines are fields of a model or comments that name them."""

import re
from collections.abc import Iterable, Sequence

import yaml

from optagent.training.outline.model_outline import ModelOutline, Remark

_PLAIN = re.compile(r"[A-Za-z_][\w./-]*")
_WORDS_OF_YAML = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
_MOST_LISTED = 30  # columns of one list of comments; fields are complete


def model_text(model_id: str, data: str, outline: ModelOutline) -> str:
    """The text of a model.yaml; `data` is the path as it is to stand there."""
    sample = "" if outline.looked_at == outline.rows else f", {outline.looked_at:,} of them looked at column by column"
    lines = [
        f"# Written by optagent init from {outline.rows:,} rows of {outline.columns:,} columns{sample}.",
        "# Read it, change it, then: optagent register THIS_FILE",
        f"id: {_scalar(model_id)}",
        f"data: {_scalar(data)}",
        "",
        *_target_lines(outline),
        "",
        *_time_lines(outline),
        "",
        *_feature_lines(outline),
        "",
        *_sensitive_lines(outline.sensitive),
        *_entity_lines(outline.entities),
        "# Searched families and the metric have defaults; see the reference of model.yaml for all fields.",
        "# metric: auc" if outline.target.task.value == "binary" else "# metric: ...",
    ]
    return "\n".join(lines) + "\n"


def _target_lines(outline: ModelOutline) -> list[str]:
    target = outline.target
    return [
        f"target: {_scalar(target.name)}",
        f"task: {target.task}  # {_comment(target.reason)}",
        *(f"# {_comment(note)}" for note in target.notes),
    ]


def _time_lines(outline: ModelOutline) -> list[str]:
    lines = [f"# {_name_line(remark)}" for remark in outline.unusable_times]
    if outline.time_column is None:
        lines += ["# time_column: ...  # without one, rows are split at random"]
        return [*lines, *_comment_lines("time_column", outline.times)]
    best = next(remark for remark in outline.times if remark.column == outline.time_column)
    others = [remark for remark in outline.times if remark is not best]
    return [
        *lines,
        f"time_column: {_scalar(best.column)}  # {_comment(best.reason)}; the newest rows are the holdout",
        *_comment_lines("time_column", others),
        "# label_horizon: 30d  # the time from a row to its label: rows of which it was not known yet are not learned",
    ]


def _feature_lines(outline: ModelOutline) -> list[str]:
    lines = [f"# Not read: {_name_line(remark)}" for remark in outline.left_out[:_MOST_LISTED]]
    lines += [f"# And {len(outline.left_out) - _MOST_LISTED:,} more."] if len(outline.left_out) > _MOST_LISTED else []
    if outline.ignored:
        lines += ["# Not learned from; delete a line to learn from its column.", "ignore:"]
        lines += [f"  {_item(remark)}" for remark in outline.ignored]
        lines += [f"  # {_item(remark)}" for remark in outline.suspects]
        return lines
    if outline.suspects:
        lines += ["# Not to be learned from? Then without the marks of comments:", "# ignore:"]
        return [*lines, *(f"#   {_item(remark)}" for remark in outline.suspects)]
    return [*lines, "# ignore: []  # every other column is learned from"]


def _sensitive_lines(remarks: Sequence[Remark]) -> list[str]:
    """A proposal in comments: an attribute that is protected in one use (age) is the heart of another."""
    if not remarks:
        return []
    return [
        "# Columns that may be protected by law. As sensitive_columns they are never learned from, and gates check",
        "# that the model is alike for their groups; as they stand, they are features.",
        "# sensitive_columns:",
        *(f"#   {_item(remark)}" for remark in remarks),
        "",
    ]


def _entity_lines(remarks: Sequence[Remark]) -> list[str]:
    return [*_comment_lines("entity", remarks), ""] if remarks else []


def _comment_lines(field: str, remarks: Iterable[Remark]) -> list[str]:
    return [f"# {field}: {_scalar(remark.column)}  # {_comment(remark.reason)}" for remark in remarks]


def _item(remark: Remark) -> str:
    return f"- {_scalar(remark.column)}  # {_comment(remark.reason)}"


def _name_line(remark: Remark) -> str:
    return _comment(f"{remark.column!r} {remark.reason}")


def _scalar(text: str) -> str:
    """The text as YAML on one line."""
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS_OF_YAML:
        return text
    quoted: str = yaml.safe_dump(text, default_style='"', allow_unicode=True, width=10**9)
    return quoted.strip()


def _comment(text: str) -> str:
    """The text on one line, without characters that YAML forbids in a comment."""
    return "".join(character if character.isprintable() else " " for character in text)
