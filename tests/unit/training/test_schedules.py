import math

import pytest
import torch
from pydantic import TypeAdapter
from torch.optim import lr_scheduler

from mode_connectivity.training.schedules import learning_rate
from mode_connectivity.training.settings import AnySchedule, cycle_ends, minima


def rate(
    name: str, *, initial: float, epochs: int, epoch: int, progress: float = 0.0, **options
) -> float:
    schedule = TypeAdapter(AnySchedule).validate_python({"name": name, **options})
    return learning_rate(schedule, initial, epochs=epochs, epoch=epoch, progress=progress)


def of_torch(build, initial: float, epochs: int) -> list[float]:
    """What a scheduler of PyTorch that is stepped once an epoch sets in each epoch."""
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=initial)
    scheduler = build(optimiser)
    rates = []
    for _ in range(epochs):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    return rates


def test_constant() -> None:
    assert rate("constant", initial=0.3, epochs=5, epoch=4, progress=0.9) == 0.3


@pytest.mark.parametrize(
    ("epoch", "epochs", "factor"),
    [
        (1, 200, 1.0),
        (100, 200, 1.0),
        (101, 200, 1 - 0.99 * 0.005 / 0.4),
        (120, 200, 0.7525),
        (156, 200, 0.307),
        (160, 200, 0.2575),
        (180, 200, 0.01),
        (200, 200, 0.01),
        (125, 150, 0.175),
    ],
)
def test_piecewise_linear_is_that_of_garipov(epoch, epochs, factor) -> None:
    # The authors count epochs from 1; ours are finished epochs. Nothing changes within one.
    for progress in (0.0, 0.7):
        found = rate(
            "piecewise_linear", initial=0.05, epochs=epochs, epoch=epoch - 1, progress=progress
        )
        assert found == pytest.approx(0.05 * factor, rel=1e-12)


def test_piecewise_linear_per_iteration_is_continuous() -> None:
    def found(epoch: int, progress: float) -> float:
        options = {"per": "iteration", "hold": 0.25, "decay_until": 0.75, "final": 0.1}
        return rate(
            "piecewise_linear", initial=1.0, epochs=8, epoch=epoch, progress=progress, **options
        )

    assert found(0, 0.0) == found(1, 0.999) == found(2, 0.0) == 1.0
    assert found(4, 0.0) == pytest.approx(0.55)
    assert found(4, 0.5) == pytest.approx(0.55 - 0.9 / 8)
    assert found(6, 0.0) == found(7, 0.9) == pytest.approx(0.1)


def test_step_is_that_of_gotmares_mode_g() -> None:
    options = {"milestones": [60, 120, 160], "factor": 0.2}
    found = [rate("step", initial=0.05, epochs=200, epoch=e, **options) for e in range(200)]
    for first, last, expected in [
        (0, 59, 0.05),
        (60, 119, 0.01),
        (120, 159, 0.002),
        (160, 199, 0.0004),
    ]:
        assert found[first : last + 1] == pytest.approx([expected] * (last + 1 - first))
    expected = of_torch(lambda o: lr_scheduler.MultiStepLR(o, [60, 120, 160], 0.2), 0.05, 200)
    assert found == pytest.approx(expected)


def test_linear() -> None:
    found = [rate("linear", initial=0.05, epochs=200, epoch=e) for e in range(200)]
    assert found[0] == 0.05
    assert found[100] == pytest.approx(0.025)
    assert found[199] == pytest.approx(0.05 / 200)
    expected = of_torch(lambda o: lr_scheduler.LinearLR(o, 1.0, 0.1, total_iters=50), 0.05, 50)
    found = [rate("linear", initial=0.05, epochs=50, epoch=e, final=0.1) for e in range(50)]
    assert found == pytest.approx(expected)
    halfway = rate("linear", initial=1.0, epochs=2, epoch=0, progress=0.5, per="iteration")
    assert halfway == pytest.approx(0.75)


def test_cosine() -> None:
    found = [rate("cosine", initial=0.1, epochs=30, epoch=e, minimum=0.001) for e in range(30)]
    expected = of_torch(lambda o: lr_scheduler.CosineAnnealingLR(o, 30, eta_min=0.001), 0.1, 30)
    assert found == pytest.approx(expected, rel=1e-9)
    within = rate("cosine", initial=0.1, epochs=4, epoch=1, progress=0.5, per="iteration")
    assert within == pytest.approx(0.05 * (1 + math.cos(math.pi * 1.5 / 4)))


def test_restarts_are_those_of_sgdr() -> None:
    # Gotmare et al. 2018, section 3.3: 10 epochs first, twice as many each time.
    options = {"period": 10, "multiplier": 2, "minimum": 1e-6}

    def found(epoch: int, progress: float) -> float:
        return rate(
            "cosine_restarts", initial=0.05, epochs=150, epoch=epoch, progress=progress, **options
        )

    expected = of_torch(
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 10, T_mult=2, eta_min=1e-6),
        0.05,
        150,
    )
    assert [found(epoch, 0.0) for epoch in range(150)] == pytest.approx(expected, rel=1e-9)
    for restart in (0, 10, 30, 70):
        assert found(restart, 0.0) == 0.05
    for last in (9, 29, 69, 149):
        assert found(last, 0.999) < 1e-6 + 1e-3 * 0.05
    assert found(20, 0.0) == pytest.approx(0.5 * (0.05 + 1e-6))
    assert found(5, 0.5) == pytest.approx(
        1e-6 + 0.5 * (0.05 - 1e-6) * (1 + math.cos(math.pi * 0.55))
    )


def test_restarts_of_equal_length_are_those_of_snapshot_ensembles() -> None:
    # Five cycles of 40 epochs; the formula of Huang et al. 2017, equation 2, per iteration.
    iterations = 7
    for iteration in range(0, 200 * iterations, 11):
        epoch, step = divmod(iteration, iterations)
        share = (iteration % (40 * iterations)) / (40 * iterations)
        found = rate(
            "cosine_restarts",
            initial=0.1,
            epochs=200,
            epoch=epoch,
            progress=step / iterations,
            period=40,
        )
        assert found == pytest.approx(0.05 * (math.cos(math.pi * share) + 1), abs=1e-12)


@pytest.mark.parametrize(("period", "high", "low"), [(2, 1e-2, 5e-4), (4, 5e-2, 5e-4)])
def test_cyclic_is_that_of_fge(period, high, low) -> None:
    # Garipov et al. 2018, section 5. Their i counts iterations from 1, ours from 0; and as in
    # their code, iteration i has the learning rate that the formula gives the one before it.
    iterations = 8
    cycle = period * iterations
    found = []
    for iteration in range(3 * cycle):
        epoch, step = divmod(iteration, iterations)
        options = {"period": period, "minimum": low}
        found.append(
            rate(
                "cyclic",
                initial=high,
                epochs=22,
                epoch=epoch,
                progress=step / iterations,
                **options,
            )
        )

    def formula(i: int) -> float:
        t = (((i - 1) % cycle) + 1) / cycle
        if t <= 0.5:
            return (1 - 2 * t) * high + 2 * t * low
        return (2 - 2 * t) * low + (2 * t - 1) * high

    assert found[0] == high
    for i in range(1, 3 * cycle):
        # Counted from 1, ours of iteration i + 1.
        assert found[i] == pytest.approx(formula(i), rel=1e-9)
    falling, rising = found[: cycle // 2 + 1], found[cycle // 2 : cycle + 1]
    assert falling == sorted(falling, reverse=True)
    assert rising == sorted(rising)
    lowest = [i for i, value in enumerate(found) if value == pytest.approx(low)]
    # Their snapshot is that of iteration c / 2, counted from 1: the last of the falling half.
    assert lowest == [cycle // 2, cycle // 2 + cycle, cycle // 2 + 2 * cycle]
    assert [found[i] for i in (0, cycle, 2 * cycle)] == [high] * 3


@pytest.mark.parametrize(
    ("epochs", "cycles", "ends"),
    [
        (150, 4, [37, 74, 111, 150]),
        (200, 5, [40, 80, 120, 160, 200]),
        (7, 3, [2, 4, 7]),
        (5, 5, [1, 2, 3, 4, 5]),
        (9, 1, [9]),
    ],
)
def test_cycles_of_snapshot_ensembles(epochs, cycles, ends) -> None:
    initial, iterations = 0.1, 390
    options = {"initial": initial, "epochs": epochs, "cycles": cycles}
    schedule = TypeAdapter(AnySchedule).validate_python({"name": "cosine_cycles", "cycles": cycles})
    assert cycle_ends(schedule, epochs) == list(minima(schedule, epochs)) == ends

    def found(epoch: int, step: int) -> float:
        return rate("cosine_cycles", epoch=epoch, progress=step / iterations, **options)

    for start, end in zip([0, *ends], ends, strict=False):
        assert found(start, 0) == initial
        assert found(end - 1, iterations - 1) < 1e-4 * initial
        # Huang et al. 2017, equation 2, with T / M the length of this very cycle.
        length = (end - start) * iterations
        for t in range(0, length, 97):
            epoch, step = divmod(t, iterations)
            expected = initial / 2 * (math.cos(math.pi * t / length) + 1)
            assert found(start + epoch, step) == pytest.approx(expected, rel=1e-9)


def test_equal_cycles_are_restarts_of_one_length() -> None:
    for epoch in range(200):
        common = {"initial": 0.05, "epochs": 200, "epoch": epoch, "progress": 0.3, "minimum": 1e-3}
        cycles = rate("cosine_cycles", cycles=5, **common)
        assert cycles == pytest.approx(rate("cosine_restarts", period=40, **common))


@pytest.mark.parametrize(
    ("hold", "factor", "epochs", "initial"),
    # Small, medium and large model of the TensorFlow tutorial.
    [(4, 0.5, 13, 1.0), (6, 0.8, 39, 1.0), (14, 1 / 1.15, 55, 1.0), (0, 0.5, 3, 2.0)],
)
def test_exponential_is_that_of_the_tutorial(hold, factor, epochs, initial) -> None:
    options = {"initial": initial, "epochs": epochs, "hold": hold, "factor": factor}
    for i in range(epochs):
        for progress in (0.0, 0.9):
            found = rate("exponential", epoch=i, progress=progress, **options)
            assert found == pytest.approx(initial * factor ** max(i + 1 - hold, 0.0), rel=1e-12)
    assert rate("exponential", epoch=max(hold - 1, 0), **options) == (
        initial if hold else initial * factor
    )


def swag_formula(epoch: int) -> float:
    """What the training script of Maddox et al. sets in an epoch, counted from 0."""
    start, initial, final = 161, 0.05, 0.01
    t = epoch / start
    ratio = final / initial
    if t <= 0.5:
        return initial
    return initial * (1 - (1 - ratio) * (t - 0.5) / 0.4) if t <= 0.9 else initial * ratio


def breakpoints(*points: tuple[float, float], **options) -> dict:
    listed = [{"epoch": epoch, "learning_rate": rate} for epoch, rate in points]
    return {"points": listed, **options}


def test_breakpoints_are_swags_schedule() -> None:
    options = breakpoints((0.5 * 161, 0.05), (0.9 * 161, 0.01))
    found = [rate("breakpoints", initial=0.05, epochs=300, epoch=e, **options) for e in range(300)]
    assert found == pytest.approx([swag_formula(epoch) for epoch in range(300)], rel=1e-12)
    # The schedule of Garipov et al. counts epochs from 1, so it is the same one later.
    shares = {"hold": 81.5 / 300, "decay_until": 145.9 / 300, "final": 0.2}
    same = [
        rate("piecewise_linear", initial=0.05, epochs=300, epoch=e, **shares) for e in range(300)
    ]
    assert found == pytest.approx(same, rel=1e-9)


def test_two_breakpoints_at_one_time_are_a_jump() -> None:
    # The chain of Benton et al. 2021, A.4.
    options = breakpoints((40, 1e-4), (40, 5e-3), per="iteration")

    def found(epoch: int, progress: float = 0.0) -> float:
        return rate(
            "breakpoints", initial=0.01, epochs=75, epoch=epoch, progress=progress, **options
        )

    assert found(0) == 0.01
    assert found(20) == pytest.approx((0.01 + 1e-4) / 2)
    assert found(39, 0.999) == pytest.approx(1e-4, rel=0.01)
    assert found(40) == found(74, 0.9) == 5e-3


def test_a_breakpoint_at_the_start_is_a_jump_from_the_initial_rate() -> None:
    options = breakpoints((0, 0.5), (2, 0.1))
    found = [rate("breakpoints", initial=9.0, epochs=4, epoch=e, **options) for e in range(4)]
    assert found == pytest.approx([0.5, 0.3, 0.1, 0.1])
