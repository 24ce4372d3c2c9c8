"""Training: one loop for every family of weights, with schedules and checkpoints."""
