"""Tests of ensembling."""
