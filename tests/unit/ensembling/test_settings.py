from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from mode_connectivity.ensembling.settings import (
    AnyEnsemble,
    CurveEnsembleSettings,
    NetworkEnsembleSettings,
)


def read(**changes: Any) -> Any:
    given = {"method": "fast_geometric", "recipes": ["a", "b"], "seeds": [3, 1], **changes}
    return TypeAdapter(AnyEnsemble).validate_python(given)


def test_trainings_stand_in_the_order_of_the_members() -> None:
    ensemble = read()
    assert isinstance(ensemble, NetworkEnsembleSettings)
    assert list(ensemble.trainings) == [("a", 3), ("b", 3), ("a", 1), ("b", 1)]
    assert ensemble.budgets == [1]


def test_the_method_tells_curves_from_networks() -> None:
    ensemble = TypeAdapter(AnyEnsemble).validate_python({"method": "curve_points", "curve": "c"})
    assert ensemble == CurveEnsembleSettings(method="curve_points", curve="c", points=50)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budgets": [1, 2, 3, 5]}, r"budgets \[3, 5\] need as many seeds; there are 2: \[3, 1\]"),
        ({"budgets": [1, 1]}, r"budgets \[1, 1\] names one twice"),
        ({"seeds": [1, 2, 1]}, r"seeds \[1, 2, 1\] names one twice"),
        ({"recipes": ["a", "a"]}, r"recipes \['a', 'a'\] names one twice"),
        ({"budgets": [0]}, "greater than 0"),
        ({"budgets": []}, "at least 1 item"),
        ({"seeds": []}, "at least 1 item"),
        ({"seeds": [-1]}, "greater than or equal to 0"),
        ({"recipes": []}, "at least 1 item"),
        ({"curve": "c"}, "Extra inputs are not permitted"),
        ({"method": "swa"}, "does not match any of the expected tags"),
    ],
)
def test_what_makes_no_ensemble_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        read(**changes)


def test_as_many_budgets_as_seeds_are_allowed() -> None:
    assert read(budgets=[2, 1]).budgets == [2, 1]
