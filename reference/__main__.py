"""Program that writes the reference, and fails where something of the product has no description."""

import sys
from pathlib import Path

from reference.pages import make_pages, write_pages

FOLDER = Path(__file__).parents[1] / "docs" / "reference"


def main() -> int:
    """Writes all pages; 1 where a setting, command, route, metric, error or field is undocumented."""
    pages = make_pages()
    write_pages(FOLDER, pages)
    undocumented = [f"{name}: {each}" for name, page in pages.items() for each in page.undocumented]
    for line in undocumented:
        print(f"undocumented: {line}", file=sys.stderr)
    return 1 if undocumented else 0


if __name__ == "__main__":
    sys.exit(main())
