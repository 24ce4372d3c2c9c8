"""An epoch of a language model on a curve against a plain one."""

import torch

from benchmarks.common import Row, median_ratio, seconds_in_turns
from mode_connectivity.data.token_stream import TokenStream
from mode_connectivity.networks import registry
from mode_connectivity.training.loop import train
from mode_connectivity.training.settings import (
    ConstantSchedule,
    OptimiserSettings,
    TrainingSettings,
)
from mode_connectivity.weight_space.curves import Bezier, Polychain, bends_on_segment
from mode_connectivity.weight_space.family import Point, TrainableFamily
from mode_connectivity.weight_space.flat import FlatParameters

WORDS, HIDDEN, STEPS, TURNS, BOUND = 10_000, 200, 8, 7, 1.10
SETTINGS = TrainingSettings(
    epochs=1,
    batch_size=20,
    window=20,
    learning_rate=1e-3,
    gradient_clipping=5.0,
    optimiser=OptimiserSettings(momentum=0.0),
    schedule=ConstantSchedule(name="constant"),
)


def measure() -> list[Row]:
    """Return the ratios for the small model of PTB."""
    network = registry.build("lstm", input_shape=(), classes=WORDS, hidden=HIDDEN)
    flat = FlatParameters(network, channels_last=True)
    tokens = SETTINGS.batch_size * SETTINGS.window * STEPS + 1
    generator = torch.Generator().manual_seed(0)
    text = TokenStream(
        torch.randint(0, WORDS, (tokens,), dtype=torch.int32, generator=generator), WORDS
    )
    ends = torch.stack([flat.vector, flat.vector, flat.vector * 1.01])
    bends_on_segment(ends)

    def run(family: TrainableFamily) -> None:
        train(network, flat, family, text, SETTINGS, seed=0)

    seconds = seconds_in_turns(
        {
            "plain": lambda: run(Point(flat.vector)),
            "Bezier": lambda: run(Bezier(ends)),
            "Polychain": lambda: run(Polychain(ends)),
        },
        TURNS,
    )
    return [
        {
            "measurement": f"epoch, {curve} / plain",
            "network": "LSTM, small",
            "value": median_ratio(seconds[curve], seconds["plain"]),
            "bound": BOUND,
        }
        for curve in ("Bezier", "Polychain")
    ]
