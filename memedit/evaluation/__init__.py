"""Datasets, metrics, runner, report."""
