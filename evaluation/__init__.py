"""Weights -> numbers: told stories, distances, the judge, the objective cartoon measure, the report."""
