"""Datasets that others published, brought into our layout."""
