"""Tests of weight_space."""
