"""Learning-rate schedules, as functions of the time in the training."""

import math

from mode_connectivity.training.settings import (
    AnySchedule,
    BreakpointsSchedule,
    ConstantSchedule,
    CosineCyclesSchedule,
    CosineRestartsSchedule,
    CosineSchedule,
    CyclicSchedule,
    ExponentialSchedule,
    LinearSchedule,
    PiecewiseLinearSchedule,
    StepSchedule,
    cycle_ends,
)


def learning_rate(
    schedule: AnySchedule, initial: float, *, epochs: int, epoch: int, progress: float
) -> float:
    """Return the learning rate of one iteration.

    Args:
        schedule: the schedule.
        initial: the learning rate it starts from.
        epochs: epochs of the whole training.
        epoch: finished epochs.
        progress: share of the running epoch that is done, in [0, 1); a schedule that changes
            once an epoch does not look at it.
    """
    time = epoch + (progress if schedule.per == "iteration" else 0.0)
    match schedule:
        case ConstantSchedule():
            return initial
        case PiecewiseLinearSchedule():
            # The authors' train.py counts epochs from 1 (dnn-mode-connectivity, train.py:117).
            share = (time + 1.0 if schedule.per == "epoch" else time) / epochs
            fall = (share - schedule.hold) / (schedule.decay_until - schedule.hold)
            return initial * (1.0 - (1.0 - schedule.final) * min(max(fall, 0.0), 1.0))
        case StepSchedule():
            drops = sum(time >= milestone for milestone in schedule.milestones)
            return initial * schedule.factor**drops
        case LinearSchedule():
            return initial * (1.0 - (1.0 - schedule.final) * time / epochs)
        case CosineSchedule():
            return _cosine(initial, schedule.minimum, time / epochs)
        case CosineRestartsSchedule():
            start, period = 0, schedule.period
            while time >= start + period:
                start, period = start + period, period * schedule.multiplier
            return _cosine(initial, schedule.minimum, (time - start) / period)
        case CosineCyclesSchedule():
            ends = [0, *cycle_ends(schedule, epochs)]
            cycle = next(index for index, end in enumerate(ends[1:]) if time < end)
            share = (time - ends[cycle]) / (ends[cycle + 1] - ends[cycle])
            return _cosine(initial, schedule.minimum, share)
        case ExponentialSchedule():
            return initial * schedule.factor ** max(0, epoch + 1 - schedule.hold)
        case CyclicSchedule():
            # One iteration behind the formula of Garipov et al. 2018, section 5, as their code is.
            position = (time % schedule.period) / schedule.period
            height = abs(1.0 - 2.0 * position)
            return schedule.minimum + (initial - schedule.minimum) * height
        case BreakpointsSchedule():
            before, rate = 0.0, initial
            for point in schedule.points:
                if time < point.epoch:
                    share = (time - before) / (point.epoch - before)
                    return rate + (point.learning_rate - rate) * share
                before, rate = point.epoch, point.learning_rate
            return rate


def _cosine(initial: float, minimum: float, share: float) -> float:
    return minimum + 0.5 * (initial - minimum) * (1.0 + math.cos(math.pi * share))
