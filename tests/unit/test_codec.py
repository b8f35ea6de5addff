"""Two kinds have the same shape where they are written alike, whatever they are called."""

from dataclasses import dataclass

from optagent.codec import shape_of


def kind(name: str, inner: str, doc: str, field: str = "at") -> type:
    """A noun that holds another one."""
    scope: dict = {"dataclass": dataclass}
    exec(f"@dataclass\nclass {inner}:\n    {field!s}: float\n", scope)
    exec(f"@dataclass\nclass {name}:\n    '''{doc}'''\n    title: str\n    inner: {inner}\n", scope)
    return scope[name]


def test_names_and_docstrings_are_no_part_of_a_shape():
    assert shape_of(kind("Look", "Part", "A look.")) == shape_of(kind("JudgedLook", "Piece", "Another sentence."))


def test_a_field_of_a_noun_within_is_part_of_a_shape():
    assert shape_of(kind("Look", "Part", "A look.")) != shape_of(kind("Look", "Part", "A look.", field="until"))
