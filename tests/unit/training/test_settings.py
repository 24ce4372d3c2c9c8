import pytest
from pydantic import ValidationError

from mode_connectivity.training.settings import OptimiserSettings, TrainingSettings


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
        ({"snapshots": [0]}, "greater than 0"),
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
