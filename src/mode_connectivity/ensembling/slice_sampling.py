"""Elliptical slice sampling."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from mode_connectivity.job_log import Steps, working_on
from mode_connectivity.settings import UserError


def elliptical_slice_sampling(
    log_likelihood: Callable[[Tensor], float],
    start: Tensor,
    *,
    prior_sigma: float,
    samples: int,
    seed: int,
) -> tuple[Tensor, Tensor]:
    """Draw from a posterior with a Gaussian prior N(0, prior_sigma^2) in every coordinate.

    Each sample lies on the ellipse through the one before it and a draw of the prior, above a level
    drawn below the likelihood of the one before; the bracket of angles shrinks towards it until a
    point is accepted (Murray et al. 2010, figure 2). The likelihood counts in full: temper it
    before.

    Args:
        log_likelihood: of a point [D], finite at the start; minus infinity excludes a point, and so
            does NaN.
        start: the point from which the chain begins, float64 [D].
        prior_sigma: standard deviation of the prior.
        samples: length of the chain; the start is not part of it.
        seed: of the chain.

    Returns:
        The chain, float64 [samples, D], and the log-likelihoods of its points, float64 [samples].

    Raises:
        UserError: the log-likelihood at the start is not finite.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform() -> float:
        return torch.rand((), generator=generator, dtype=torch.float64).item()

    point, level = start.clone(), log_likelihood(start)
    if not math.isfinite(level):
        raise UserError(
            f"slice sampling: the log-likelihood at the start is {level}; it must be finite: check "
            "the weights that span the subspace"
        )
    chain = torch.empty(samples, len(start), dtype=torch.float64)
    levels = torch.empty(samples, dtype=torch.float64)
    steps = Steps("sample", samples)
    for index in range(samples):
        prior = prior_sigma * torch.randn(start.shape, generator=generator, dtype=torch.float64)
        # 1 - u lies in (0, 1], where the logarithm is finite.
        threshold = level + math.log(1.0 - uniform())
        angle = 2 * math.pi * uniform()
        low, high = angle - 2 * math.pi, angle
        while True:
            proposal = point * math.cos(angle) + prior * math.sin(angle)
            with working_on("sample", index + 1, samples):
                level = log_likelihood(proposal)
            if level >= threshold:
                break
            if angle < 0:
                low = angle
            else:
                high = angle
            angle = low + (high - low) * uniform()
        point = proposal
        chain[index], levels[index] = point, level
        steps.add()
    return chain, levels
