"""Mode connectivity: curves, simplexes and ensembles of neural networks.

Every set of networks studied here is an affine family: a stack of vertices (points of weight
space) and a rule that turns a parameter into coefficients, ``weights = coefficients @ vertices``.
One training loop and one evaluator serve them all.
"""

__version__ = "0.1.0"
