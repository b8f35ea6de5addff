"""These are servers, each run by the python of its own environment: pytest looks into none of them."""

collect_ignore_glob = ["*.py"]
