"""The pictures of a report. This package imports nothing."""
