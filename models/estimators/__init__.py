"""The forecasters of the tutorial, by scikit-learn's conventions; the search uses none."""
