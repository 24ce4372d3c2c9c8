"""Ratios that must hold, measured within one run on one machine: ``python -m benchmarks``."""
