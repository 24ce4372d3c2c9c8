"""Weight space: a network's parameters as one vector, and affine families of such vectors."""
