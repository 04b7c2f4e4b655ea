"""Evaluation: the MIND metrics, scoring of whole logs, submission files, baselines and comparison tables."""
