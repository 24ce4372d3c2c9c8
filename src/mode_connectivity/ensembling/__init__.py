"""Ensembling: ways to collect members and to combine their predictions."""
