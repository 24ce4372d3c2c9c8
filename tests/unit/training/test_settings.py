import re

import pytest
from pydantic import ValidationError

from mode_connectivity.training.settings import OptimiserSettings, TrainingSettings, minima


def training(**changes):
    return TrainingSettings.model_validate({"epochs": 4, "learning_rate": 0.1, **changes})


def test_defaults_are_those_of_garipov() -> None:
    settings = training()
    assert settings.batch_size == 128
    assert settings.optimiser == OptimiserSettings(
        name="sgd", momentum=0.9, nesterov=False, weight_decay=0.0, weight_decay_on="point"
    )
    assert settings.schedule.name == "piecewise_linear"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"snapshots": [2, 5]}, r"snapshots \[5\] lie beyond the 4 epochs"),
        ({"snapshots": [2, 2]}, "name an epoch twice"),
        ({"snapshots": [-1]}, "greater than or equal to 0"),
        ({"snapshots": "minimum"}, "'minima'"),
        ({"average_snapshots": True}, "no snapshots: set snapshots, such as to {first: 3}"),
        ({"checkpoints": [2, 5]}, r"checkpoints \[5\] lie beyond the 4 epochs"),
        ({"checkpoints": [3, 3]}, r"checkpoints \[3, 3\] name an epoch twice"),
        ({"checkpoints": [0]}, "greater than 0"),
        ({"checkpoints": "minima"}, "valid list"),
        ({"gradient_clipping": 0.0}, "greater than 0"),
        ({"gradient_clipping": float("inf")}, "finite"),
        ({"window": 0}, "greater than 0"),
        ({"records_per_epoch": 0}, "greater than 0"),
        ({"record_test": 1}, "valid boolean"),
        ({"learning_rate": 0.0}, "greater than 0"),
        ({"learning_rate": "0.1"}, "valid number"),
        ({"epoch": 3}, "Extra inputs"),
        ({"schedule": {"name": "cosin"}}, "cosine_restarts"),
        ({"schedule": {"name": "step", "milestones": [], "factor": 0.2}}, "at least 1 item"),
        (
            {"schedule": {"name": "piecewise_linear", "hold": 0.9, "decay_until": 0.9}},
            r"decay_until \(0\.9\) must exceed hold",
        ),
        ({"optimiser": {"weight_decay": -1.0}}, "greater than or equal to 0"),
        ({"optimiser": {"nesterov": True, "momentum": 0.0}}, "nesterov needs a momentum"),
    ],
)
def test_mistakes_are_found_before_training(changes, message) -> None:
    with pytest.raises(ValidationError, match=message):
        training(**changes)


def test_defaults_ask_for_nothing_more() -> None:
    settings = training()
    assert settings.snapshots == settings.checkpoints == settings.snapshot_epochs == []
    assert settings.gradient_clipping is None
    assert (settings.window, settings.records_per_epoch, settings.record_test) == (35, 1, False)


def test_snapshots_are_told_in_order() -> None:
    assert training(snapshots=[3, 0, 1]).snapshot_epochs == [0, 1, 3]


def test_snapshots_of_all_epochs() -> None:
    """The weights that it begins with are not those after an epoch."""
    assert training(snapshots="all").snapshot_epochs == [1, 2, 3, 4]
    assert training(epochs=1, snapshots="all").snapshot_epochs == [1]


def cyclic(period: int, **changes) -> dict:
    return {"schedule": {"name": "cyclic", "period": period, "minimum": 5e-4}, **changes}


@pytest.mark.parametrize(
    ("period", "epochs", "expected"),
    [
        # Garipov et al. 2018, section 6: 22 models of VGG-16 from two runs, 6 of a ResNet's.
        (2, 22, [1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21]),
        (4, 22, [2, 6, 10, 14, 18, 22]),
        # ImageNet: three besides the network it begins with.
        (2, 5, [1, 3, 5]),
        (6, 3, [3]),
    ],
)
def test_snapshots_of_fge(period, epochs, expected) -> None:
    assert training(epochs=epochs, snapshots="minima", **cyclic(period)).snapshot_epochs == expected


@pytest.mark.parametrize(
    ("schedule", "epochs", "expected"),
    [
        ({"name": "cosine"}, 30, [30]),
        ({"name": "cosine_cycles", "cycles": 4}, 150, [37, 74, 111, 150]),
        ({"name": "cosine_cycles", "cycles": 5}, 200, [40, 80, 120, 160, 200]),
        ({"name": "cosine_restarts", "period": 10, "multiplier": 2}, 150, [10, 30, 70, 150]),
        ({"name": "cosine_restarts", "period": 10, "multiplier": 2}, 149, [10, 30, 70]),
        ({"name": "cosine_restarts", "period": 3}, 10, [3, 6, 9]),
    ],
)
def test_snapshots_at_minima(schedule, epochs, expected) -> None:
    settings = training(epochs=epochs, schedule=schedule, snapshots="minima")
    assert settings.snapshot_epochs == expected
    assert list(minima(settings.schedule, epochs)) == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (cyclic(3), r"period is 3; it must be even, .*, such as 4$"),
        (cyclic(1), r"period is 1; it must be even, .*, such as 2$"),
        (
            cyclic(4, epochs=21),
            r"cycles of 4 epochs do not fit into 21 epochs: .*, such as 20 or 22$",
        ),
        (cyclic(8, epochs=3), r"cycles of 8 epochs do not fit into 3 epochs: .*, such as 4$"),
        ({"schedule": {"name": "cosine_cycles", "cycles": 5}}, "5 cycles do not fit into 4 epochs"),
        ({"schedule": {"name": "cosine_cycles", "cycles": 0}}, "greater than 0"),
        (
            {"schedule": {"name": "cosine_restarts", "period": 5}, "snapshots": "minima"},
            "the first period of 5 epochs is longer than the training of 4 epochs: nothing rest",
        ),
        ({"snapshots": "minima"}, "'piecewise_linear' has no minima; list the epochs, or choose"),
        *(
            ({"schedule": schedule, "snapshots": "minima"}, f"{schedule['name']!r} has no minima")
            for schedule in (
                {"name": "constant"},
                {"name": "linear"},
                {"name": "step", "milestones": [1], "factor": 0.1},
                {"name": "exponential", "hold": 1, "factor": 0.5},
            )
        ),
        ({"schedule": {"name": "exponential", "hold": -1, "factor": 0.5}}, "greater than or eq"),
        ({"schedule": {"name": "exponential", "hold": 1, "factor": 0.0}}, "greater than 0"),
    ],
)
def test_cycles_that_do_not_fit(changes, message) -> None:
    with pytest.raises(ValidationError) as caught:
        training(**changes)
    lines = [error["msg"] for error in caught.value.errors()]
    assert len(lines) == 1
    assert re.search(message, lines[0])


@pytest.mark.parametrize("snapshots", [[], "minima", "all", [2]])
def test_a_first_period_longer_than_the_training(snapshots) -> None:
    """Nothing would restart, whatever is kept."""
    schedule = {"name": "cosine_restarts", "period": 5}
    with pytest.raises(ValidationError, match="the first period of 5 epochs is longer than the t"):
        training(schedule=schedule, snapshots=snapshots)
    whole = training(schedule={**schedule, "period": 4}, snapshots=snapshots)
    assert whole.schedule.name == "cosine_restarts"


def points(*epochs: float) -> dict[str, object]:
    listed = [{"epoch": epoch, "learning_rate": 0.1} for epoch in epochs]
    return {"schedule": {"name": "breakpoints", "points": listed}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (points(3, 2.5), r"epoch 2.5 comes after epoch 3; give them ascending"),
        (points(2, 2, 2), r"3 at epoch 2; a jump has two"),
        (points(1, 4.5, 6), r"points at epoch 4.5, 6 lie beyond the 4 epochs of training"),
        (points(), "at least 1 item"),
        (points(-1), "greater than or equal to 0"),
        ({"snapshots": {"first": 5}}, r"snapshots \[5\] lie beyond the 4 epochs"),
        ({"snapshots": {"first": 1, "every": 0}}, "greater than 0"),
    ],
)
def test_breakpoints_and_ranges_that_do_not_fit(changes, message) -> None:
    with pytest.raises(ValidationError, match=message):
        training(epochs=4, **changes)


@pytest.mark.parametrize(
    ("snapshots", "epochs"),
    [
        ({"first": 3}, [3, 4, 5, 6]),
        ({"first": 0, "every": 4}, [0, 4]),
        ({"first": 6}, [6]),
        ({"first": 2, "every": 2}, [2, 4, 6]),
    ],
)
def test_a_range_of_snapshots(snapshots, epochs) -> None:
    assert training(epochs=6, snapshots=snapshots).snapshot_epochs == epochs
