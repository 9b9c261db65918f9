"""Puffin Tuner: `puffin.models`, `puffin.studies` and `puffin.tuner`, and the tutorial's paths.

The first three are folders at the top of the repository, linked from here; docs/adr/0001 says why.
"""
