"""The artefacts that can be asked for, as data: which curves, planes and ensembles they show."""

from typing import Annotated

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt

from mode_connectivity.settings import Settings


def _name_each_once(names: list[str]) -> list[str]:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"names {', '.join(twice)} twice; each may come once")
    return names


Distinct = Annotated[list[str], Field(min_length=1), AfterValidator(_name_each_once)]


class CounterpartSettings(Settings):
    """The row of the paper that a row of ours stands beside, where ours is another data set."""

    dataset: str
    network: str


class RowSettings(Settings):
    """One network's rows of Table 2: its curves, one of them a segment."""

    curves: Distinct
    published_as: CounterpartSettings | None = None


class CurveTableSettings(Settings):
    """Garipov et al. 2018, Table 2."""

    rows: dict[str, RowSettings] = Field(min_length=1)


class EnsembleRowSettings(Settings):
    """One network's rows of Table 1: its ensembles, one a method."""

    ensembles: Distinct
    published_as: CounterpartSettings | None = None


class EnsembleTableSettings(Settings):
    """Garipov et al. 2018, Table 1."""

    rows: dict[str, EnsembleRowSettings] = Field(min_length=1)


class LanguageModelTableSettings(Settings):
    """Garipov et al. 2018, Table 3: the curves of language models."""

    rows: dict[str, RowSettings] = Field(min_length=1)


class ImagenetTableSettings(Settings):
    """Garipov et al. 2018, section 6.1: FGE from a pre-trained network."""

    fast_geometric: str = Field(description="an ensemble whose first member is the network itself")
    weight_average: str | None = Field(None, description="the average of its members")
    published_as: CounterpartSettings | None = None


class TraceFigureSettings(Settings):
    """Figure 5 of Garipov et al. 2018: one run of FGE."""

    history: str = Field(description="a network, recipe/seed, whose history has test errors")


class EnsemblesOverTimeFigureSettings(Settings):
    """Figure 6 of Garipov et al. 2018: snapshots and their ensembles against epochs."""

    fast_geometric: str
    snapshot: str
    budget_epochs: PositiveInt = Field(description="B, after which the second run begins")
    budgets: PositiveInt = Field(2, description="runs, one after the other")


class CurveEnsembleTableSettings(Settings):
    """Garipov et al. 2018, section 4.3."""

    curve_points: str = Field(description="an ensemble of points of the chain")
    networks: Distinct = Field(description="independent networks, the curve's endpoints first")


class TrivialPathSettings(Settings):
    """Garipov et al. 2018, A.6."""

    curves: Distinct


class PlanesFigureSettings(Settings):
    """Figures 1, 7 and 8 of Garipov et al. 2018: three planes through the same two networks."""

    independent: str
    bezier: str
    polychain: str
    train_loss_clip: PositiveFloat = Field(5.0, description="reference code: plane_plot.py")
    test_error_clip: PositiveFloat = Field(40.0, description="percent; reference code")


class CurvesFigureSettings(Settings):
    """Figure 2 of Garipov et al. 2018."""

    segment: str
    bezier: str
    polychain: str
    curve_points: str = Field(description="an ensemble of points of the chain")


class WidthsFigureSettings(Settings):
    """Figure 3 of Garipov et al. 2018: the same curve for networks of growing width."""

    curves: Distinct = Field(description="Bezier curves, one a width")
    option: str = Field("width", description="the network option that is the width factor")


class TwoNetworkEnsemblesFigureSettings(Settings):
    """Figure 4 of Garipov et al. 2018."""

    segment: str
    polychain: str
    random_segment: str


class ArtefactSettings(Settings):
    """What each artefact shows; one that is absent is not built at this scale."""

    garipov2018_table1: EnsembleTableSettings | None = None
    garipov2018_table2: CurveTableSettings | None = None
    garipov2018_table3: LanguageModelTableSettings | None = None
    garipov2018_curve_ensemble: CurveEnsembleTableSettings | None = None
    garipov2018_imagenet: ImagenetTableSettings | None = None
    garipov2018_trivial_path: TrivialPathSettings | None = None
    garipov2018_figure1: PlanesFigureSettings | None = None
    garipov2018_figure2: CurvesFigureSettings | None = None
    garipov2018_figure3: WidthsFigureSettings | None = None
    garipov2018_figure4: TwoNetworkEnsemblesFigureSettings | None = None
    garipov2018_figure5: TraceFigureSettings | None = None
    garipov2018_figure6: EnsemblesOverTimeFigureSettings | None = None
    garipov2018_figure7: PlanesFigureSettings | None = None
    garipov2018_figure8: PlanesFigureSettings | None = None


def artefact_base(artefact: str) -> str:
    """Return the artefact that a name means, which may be that of one of its rows.

    Args:
        artefact: such as ``garipov2018_table2_cifar10_vgg16``, a row of ``garipov2018_table2``.
    """
    return max(
        (name for name in ArtefactSettings.model_fields if artefact.startswith(name)), key=len
    )
