"""The papers' figures: from grids to a picture and the numbers behind it."""
