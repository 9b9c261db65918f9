"""The figures of a report. This package imports nothing."""
