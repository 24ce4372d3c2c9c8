"""Networks that were trained elsewhere: measured, aligned, connected and drawn, without Snakemake.

Put together from what the pipeline's jobs are made of: one loop, one evaluator, the same files.
"""
