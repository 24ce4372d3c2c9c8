"""Published numbers, summaries of what was evaluated, tables and figures; free of torch."""
