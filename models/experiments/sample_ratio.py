"""Sample-ratio mismatch: do the arms have as many users as their weights say?

If not, something loses or moves users, and no rate of that experiment means anything
(Fabijan et al. 2019).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import gammaln

CONCENTRATION = 1000.0
"""How near to the weights the mixture's ratios lie: standard deviation 0.016 at 50:50."""


def sample_ratio_mismatch(counts: Sequence[int], weights: Sequence[float]) -> float:
    """An always-valid p-value that users came by these weights: it may be looked at at any time,
    as often as one likes, and is below α with probability α at most, ever.

    The multinomial likelihood at the weights against its Dirichlet mixture with mean
    ``weights``: ``p = min(1, Π wᵢ^nᵢ · B(cw) / B(cw + n))``.
    Source: Lindon and Malek 2022, *Anytime-valid inference for multinomial count data* (NeurIPS).

    Args:
        counts: distinct users by arm, shape (arms,), each in one arm.
        weights: at least 0, in any scale, shape (arms,).

    Returns:
        p, in [0, 1]; 0 if anybody has an arm of weight 0.

    Raises:
        ValueError: not one weight for each arm, a negative number, or no weight above 0.
    """
    users, shares = np.asarray(counts, np.float64), np.asarray(weights, np.float64)
    if users.shape != shares.shape or users.ndim != 1:
        raise ValueError(f"{users.size} counts and {shares.size} weights: give one of each an arm")
    if (users < 0).any() or (shares < 0).any() or not shares.sum() > 0:
        raise ValueError("counts and weights must be at least 0, and one weight above 0")
    used = shares > 0
    if users[~used].any():
        return 0.0
    users, shares = users[used], shares[used] / shares.sum()
    prior = CONCENTRATION * shares
    log_p = (
        (users * np.log(shares)).sum()
        + (gammaln(prior) - gammaln(prior + users)).sum()
        + gammaln(CONCENTRATION + users.sum())
        - gammaln(CONCENTRATION)
    )
    return float(np.exp(min(log_p, 0.0)))
