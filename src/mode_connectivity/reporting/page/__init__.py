"""The page in front of all results: scorecard, tables, figures, and what they cost."""
