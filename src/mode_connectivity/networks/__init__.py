"""The papers' networks, one file a family, as plain torch modules that know nothing of curves."""
