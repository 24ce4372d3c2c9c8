"""Data sets: from the files users have to arrays on the device, and batches of them."""
