"""Forecasters with scikit-learn's interface, published in `puffin.deep`; studies use none."""
