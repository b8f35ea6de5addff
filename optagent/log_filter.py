"""Log filter: records of the log, with their tracebacks, lose the secrets of URLs before a handler writes them."""

import logging

from optagent.secret_text import hide_secrets

_FORMATTER = logging.Formatter()


class HideSecrets(logging.Filter):
    """A filter for handlers: those of loggers do not see what their children log."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        shown = hide_secrets(message)
        if shown != message:
            record.msg, record.args = shown, ()
        if record.exc_info and not record.exc_text:
            record.exc_text = _FORMATTER.formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = hide_secrets(record.exc_text)
        return True


def hide_in(handlers: list[logging.Handler]) -> list[logging.Handler]:
    """The handlers, each with the filter once."""
    for handler in handlers:
        if not any(isinstance(each, HideSecrets) for each in handler.filters):
            handler.addFilter(HideSecrets())
    return handlers
