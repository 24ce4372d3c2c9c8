"""Matching the units of two networks of the papers' sizes."""

import statistics

import torch

from benchmarks.common import Row, build, seconds_in_turns
from mode_connectivity.weight_space.alignment import match_activations, match_weights, permute
from mode_connectivity.weight_space.units import find_units

EXAMPLES = 200


def measure() -> list[Row]:
    """Return the seconds of aligning two VGG-16, by weights and by activations."""
    title = "VGG-16"
    (network, first, shape), (_, second, _) = build(title), build(title)
    one, other = (dict(zip(f.names, f.views(f.vector), strict=True)) for f in (first, second))
    inputs = torch.randn(EXAMPLES, *shape).contiguous(memory_format=torch.channels_last)
    batches = [(part, torch.zeros(len(part))) for part in inputs.split(100)]

    def by_weights() -> None:
        groups = find_units(network, inputs[:2]).groups
        permute(other, groups, match_weights(groups, one, other, seed=0))

    def by_activations() -> None:
        units = find_units(network, inputs[:2])
        permute(other, units.groups, match_activations(network, units, one, other, batches))

    runs = {"weights": by_weights, f"activations on {EXAMPLES} images": by_activations}
    seconds = seconds_in_turns(runs, turns=3, warm_up=1)
    return [
        {
            "measurement": f"aligning two networks by {name}, seconds",
            "network": title,
            "value": statistics.median(seconds[name]),
            "bound": 30.0,
        }
        for name in runs
    ]
