"""Structured logs: one JSON object a line; never a prompt, a body or a key."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

requests_log = logging.getLogger("memedit.serving.request")
"""One line per request."""


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON; ``extra={"fields": {...}}`` are added to it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        moment = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, object] = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields = getattr(record, "fields", None)
        if isinstance(fields, dict):
            line.update(fields)
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=True, default=str)


def configure_logging(level: str) -> None:
    """Send memedit's and uvicorn's logs to stderr as JSON lines; for a process that serves."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name, lowest in (("memedit", level), ("uvicorn", "warning")):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(max(_number(level), _number(lowest)))
        logger.propagate = False


def log_request(fields: dict[str, object]) -> None:
    """Write the line of one finished request."""
    if requests_log.isEnabledFor(logging.INFO):
        requests_log.info("request", extra={"fields": fields})


def _number(level: str) -> int:
    return logging.getLevelNamesMapping()[level.upper()]
