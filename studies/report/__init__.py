"""The report. This package imports nothing, so that a command loads only what it uses."""
