"""What a handler writes has no secrets of URLs: neither in messages, nor in their arguments, nor in tracebacks."""

import io
import logging

from optagent.log_filter import HideSecrets, hide_in


def test_a_filtered_handler_writes_no_secrets() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    assert hide_in(hide_in([handler])) == [handler]
    assert sum(isinstance(each, HideSecrets) for each in handler.filters) == 1
    logger = logging.getLogger("optagent.test_log_filter")
    logger.propagate = False
    logger.addHandler(handler)
    try:
        logger.error("no answer of %s within %d s", "redis://:hunter2@host:6379", 5)
        raise ValueError("postgresql://me:hunter2@db/orders")
    except ValueError:
        logger.exception("it failed")
    finally:
        logger.removeHandler(handler)
    text = stream.getvalue()
    assert "hunter2" not in text
    assert "no answer of redis://:***@host:6379 within 5 s" in text
    assert "ValueError: postgresql://me:***@db/orders" in text
