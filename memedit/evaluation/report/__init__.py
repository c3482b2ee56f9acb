"""The report of a run: one HTML file that people read, the same as Markdown, the rows as JSON."""

from __future__ import annotations

from memedit.evaluation.report.write import write_report as write_report
