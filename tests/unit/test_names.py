"""The rules of names that CONTRIBUTING states, kept over all product code."""

import ast
import gc
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]

PARTICIPLE = re.compile(
    r"[a-z]{2,}ed|begun|chosen|drawn|found|given|gone|held|kept|known|left|lost|made|meant|met|put|said|seen|sent|shown"
    r"|taken|thrown|told|written"
)
PARTICIPLES_THAT_STAY = {"bounded", "drained", "matured", "resampled", "served"}
KINDS = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
RIDDLES = re.compile(r"(What|Whether|Who|How|Which|Where|Why)\b")


@cache
def trees() -> dict[str, ast.Module]:
    parts = ("optagent", "serve_app", "reference")
    files = [path for part in parts for path in sorted((ROOT / part).rglob("*.py"))]
    gc.disable()  # a million nodes, none of which is garbage: to look for some takes most of the time
    try:
        return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in files}
    finally:
        gc.enable()


@cache
def definitions() -> list[tuple[str, ast.AST]]:
    """Modules, classes and functions with their files; definitions are sought in statements, not in expressions."""
    waiting: list[tuple[str, ast.AST]] = list(trees().items())
    entries = []
    while waiting:
        name, node = waiting.pop()
        entries.append((name, node))
        waiting += [(name, each) for each in statements_below(node) if isinstance(each, KINDS)]
    return entries


def statements_below(node: ast.AST) -> Iterator[ast.stmt]:
    for field in ("body", "orelse", "finalbody", "handlers", "cases"):
        for each in getattr(node, field, ()):
            yield each
            if not isinstance(each, KINDS):
                yield from statements_below(each)


def nodes(*kinds: type) -> list[tuple[str, ast.AST]]:
    return [(name, node) for name, node in definitions() if isinstance(node, kinds)]


def is_lone_participle(name: str) -> bool:
    return PARTICIPLE.fullmatch(name.strip("_")) is not None


def first_sentence(tree: ast.AST) -> str:
    return (ast.get_docstring(tree) or "").split("\n\n")[0].replace("\n", " ").split(". ")[0]


def test_no_function_is_named_by_a_lone_participle():
    functions = nodes(ast.FunctionDef, ast.AsyncFunctionDef)
    names = [(file, node.lineno, node.name) for file, node in functions if is_lone_participle(node.name)]
    assert [each for each in names if each[2] not in PARTICIPLES_THAT_STAY] == []


def test_a_public_class_name_exists_once():
    counts = Counter(node.name for _, node in nodes(ast.ClassDef) if not node.name.startswith("_"))
    assert [name for name, count in counts.items() if count > 1] == []


def test_no_docstring_opens_with_a_riddle():
    documented = nodes(ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    openings = [(file, ast.get_docstring(node) or "") for file, node in documented]
    assert [(file, text.split("\n")[0]) for file, text in openings if RIDDLES.match(text)] == []


def test_a_module_says_what_no_other_does():
    counts = Counter(first_sentence(tree) for tree in trees().values() if ast.get_docstring(tree))
    assert [sentence for sentence, count in counts.items() if count > 1] == []


def test_every_module_with_code_says_what_it_is():
    assert [file for file, tree in trees().items() if tree.body and not ast.get_docstring(tree)] == []
