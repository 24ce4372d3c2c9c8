"""Evaluation: one evaluator for every family of weights."""
