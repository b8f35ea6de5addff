"""Reference pages of the site, made from the code: `python -m reference` writes them into docs/reference."""
