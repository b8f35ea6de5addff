"""HTML pages: renders the templates of this folder, which share one look and load nothing from the network."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from optagent.adapters.pages.plot import Plot
from optagent.analysis.report.parts import Section
from optagent.templating import load_templates


def render_page(template: str, title: str, plots: Sequence[Plot], **values: Any) -> str:
    """The page as text that UTF-8 can encode; 5 MB where it has plots, most of it plotly's script, else a few kB."""
    script = _plotly_script() if plots else None
    page = _TEMPLATES.get_template(template).render(title=title, script=script, plots=plots, **values)
    return page.encode("utf-8", "replace").decode("utf-8")


def sections_page(title: str, lead: str, plots: Sequence[Plot], sections: Sequence[Section] = ()) -> str:
    """A page with a leading sentence, plots, and sections below them."""
    return render_page("sections.html", title, plots, lead=lead, sections=sections)


def _plotly_script() -> Markup:
    from plotly.offline import get_plotlyjs  # takes a while to load, and pages without plots need none of it

    return Markup(get_plotlyjs())  # noqa: S704 - the installed package's own file


def _sentence(text: str) -> str:
    """The text as a sentence: a capital, unless the first word is a name or a unit, and a full stop."""
    first = text.partition(" ")[0].strip(",:;").replace("-", "")
    start = text[:1].upper() if first.isalpha() else text[:1]
    return f"{start}{text[1:]}{'' if text.endswith(('.', ':')) else '.'}"


_TEMPLATES = load_templates(Path(__file__).parent / "templates")
_TEMPLATES.filters["sentence"] = _sentence
