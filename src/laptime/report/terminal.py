"""A run as lines of text."""

from laptime.report.epochs import columns_line, epoch_line
from laptime.report.run import closing_lines, header_lines, render_run

__all__ = ["closing_lines", "columns_line", "epoch_line", "header_lines", "render_run"]
