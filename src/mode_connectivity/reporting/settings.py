"""The artefacts that can be asked for, as data: which curves, planes and ensembles they show."""

import ast
from typing import Annotated, Self, TypeVar

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt, model_validator

from mode_connectivity.data.corruption_settings import SEVERITIES, CorruptionName, Severity
from mode_connectivity.own_functions import FORM, find_function
from mode_connectivity.settings import (
    CurveName,
    EnsembleName,
    GeometryName,
    PlaneName,
    RecipeName,
    Settings,
    SimplexName,
    UserError,
)

_Name = TypeVar("_Name", str, int)


def _name_each_once(names: list[_Name]) -> list[_Name]:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"names {', '.join(map(str, twice))} twice; each may come once")
    return names


Network = RecipeName
"""As recipe/seed."""
Complex = SimplexName
"""As simplex/seed."""
Curves = Annotated[list[CurveName], AfterValidator(_name_each_once)]
Planes = Annotated[list[PlaneName], AfterValidator(_name_each_once)]
Networks = Annotated[list[Network], AfterValidator(_name_each_once)]
Ensembles = Annotated[list[EnsembleName], AfterValidator(_name_each_once)]
Complexes = Annotated[list[Complex], AfterValidator(_name_each_once)]

TrainedComplexes = Annotated[
    Complexes, Field(min_length=1, description="trained simplexes or complexes, as simplex/seed")
]
Segment = Annotated[CurveName, Field(description="a segment between two networks")]
Bezier = Annotated[CurveName, Field(description="a Bezier curve between the same networks")]
Polychain = Annotated[CurveName, Field(description="a polygonal chain between the same networks")]
CurvePoints = Annotated[EnsembleName, Field(description="points of the chain, by curve_points")]
FastGeometric = Annotated[
    EnsembleName, Field(description="an ensemble collected by fast_geometric")
]
History = Annotated[
    Network, Field(description="a network, recipe/seed, whose history has test errors")
]
WidthOption = Annotated[str, Field(description="the network option that is the width factor")]
Seed = Annotated[int, Field(ge=0, description="of what is drawn at random")]


class CounterpartSettings(Settings):
    """The row of the paper that a row of ours stands beside, where ours is another data set."""

    dataset: str = Field(description="as the paper's table names it")
    network: str = Field(description="likewise")


class RowSettings(Settings):
    """One network's rows: its curves, one of them a segment."""

    curves: Curves = Field(min_length=1, description="a line of the table each")
    published_as: CounterpartSettings | None = None


class CurveTableSettings(Settings):
    """Garipov et al. 2018, Table 2."""

    rows: dict[str, RowSettings] = Field(min_length=1)


class EnsembleRowSettings(Settings):
    """One network's rows of Table 1."""

    ensembles: Ensembles = Field(min_length=1, description="one a method")
    published_as: CounterpartSettings | None = None


class EnsembleTableSettings(Settings):
    """Garipov et al. 2018, Table 1."""

    rows: dict[str, EnsembleRowSettings] = Field(min_length=1)


class LanguageModelTableSettings(Settings):
    """Garipov et al. 2018, Table 3: the curves of language models."""

    rows: dict[str, RowSettings] = Field(min_length=1)


class ImagenetTableSettings(Settings):
    """Garipov et al. 2018, section 6.1: FGE from a pre-trained network."""

    fast_geometric: EnsembleName = Field(
        description="an ensemble whose first member is the network itself"
    )
    weight_average: EnsembleName | None = Field(None, description="the average of its members")
    published_as: CounterpartSettings | None = None


class TraceFigureSettings(Settings):
    """Figure 5 of Garipov et al. 2018: one run of FGE."""

    history: History


class EnsemblesOverTimeFigureSettings(Settings):
    """Figure 6 of Garipov et al. 2018: snapshots and their ensembles against epochs."""

    fast_geometric: FastGeometric
    snapshot: EnsembleName = Field(description="an ensemble collected by snapshot")
    budget_epochs: PositiveInt = Field(description="B, after which the second run begins")
    budgets: PositiveInt = Field(2, description="runs, one after the other")


class CurveEnsembleTableSettings(Settings):
    """Garipov et al. 2018, section 4.3."""

    curve_points: CurvePoints
    networks: Networks = Field(
        min_length=1, description="independent networks, the curve's endpoints first"
    )


class TrivialPathSettings(Settings):
    """Garipov et al. 2018, A.6."""

    curves: Curves = Field(
        min_length=1, description="trivial paths; the figure shows the first one"
    )


class PlanesFigureSettings(Settings):
    """Figures 1, 7 and 8 of Garipov et al. 2018: three planes through the same two networks."""

    independent: PlaneName = Field(description="the plane through a third network")
    bezier: PlaneName = Field(description="the plane through the bend of a Bezier curve")
    polychain: PlaneName = Field(description="the plane through the bend of a polygonal chain")
    train_loss_clip: PositiveFloat = Field(
        5.0, description="higher losses share one colour; that of the authors' plane_plot.py"
    )
    test_error_clip: PositiveFloat = Field(40.0, description="likewise of errors, in percent")


class CurvesFigureSettings(Settings):
    """Figure 2 of Garipov et al. 2018."""

    segment: Segment
    bezier: Bezier
    polychain: Polychain
    curve_points: CurvePoints


class WidthsFigureSettings(Settings):
    """Figure 3 of Garipov et al. 2018: the same curve for networks of growing width."""

    curves: Curves = Field(min_length=1, description="Bezier curves, one a width")
    option: WidthOption = "width"


class TwoNetworkEnsemblesFigureSettings(Settings):
    """Figure 4 of Garipov et al. 2018."""

    segment: Segment
    polychain: Polychain
    random_segment: CurveName = Field(description="a line of the same length in a random direction")


class ConnectionSettings(Settings):
    """Two networks, and what connects them."""

    title: str = Field("", description="in the table, such as GA; empty: the name of the row")
    segment: Segment
    polychain: Polychain


class ModesTableSettings(Settings):
    """The modes of Gotmare et al. 2018, and how they are connected."""

    modes: dict[str, Network] = Field({}, description="a label, and a network as recipe/seed")
    differences: dict[str, str] = Field(
        {}, description="by label, how a mode's training differs from the first one's"
    )
    rows: dict[str, ConnectionSettings] = Field(min_length=1, description="the connections")
    margin: PositiveFloat = Field(
        1.0, description='points of accuracy that count as "almost as well"'
    )


class ConnectionsFigureSettings(Settings):
    """Figures 1, 8, 9 and 10 of Gotmare et al. 2018: curves at the snapshots of their training."""

    connections: dict[str, CurveName] = Field(
        min_length=1, description="a label such as GA, and a curve that keeps snapshots"
    )


class IteratePairSettings(Settings):
    """Two iterates of one training, and what connects them."""

    start: str = Field(description="label of the first, such as w30")
    end: str = Field(description="label of the second")
    segment: Segment
    polychain: Polychain


class IteratesFigureSettings(Settings):
    """Figure 7 of Gotmare et al. 2018: connections between iterates of SGDR and of SGD."""

    sgdr: list[IteratePairSettings] = Field(min_length=1, description="of a training with restarts")
    sgd: list[IteratePairSettings] = Field(min_length=1, description="of one with step decay")


class SchedulesFigureSettings(IteratesFigureSettings):
    """Figure 2 of Gotmare et al. 2018: the two trainings, and connections between iterates."""

    sgdr_history: History
    sgd_history: History


class IteratesPlaneFigureSettings(Settings):
    """Figures 3, 5 and 6 of Gotmare et al. 2018: a plane with projected iterates."""

    plane: PlaneName = Field(description="through two iterates and the bend of a chain")


class SampledBendFigureSettings(Settings):
    """Figure 2 of Benton et al. 2021: SWAG over the bend of a chain."""

    plane: PlaneName = Field(description="through two networks and the bend, with samples")
    curve_swag: EnsembleName = Field(description="the ensemble of these samples")


class GeometryFigureSettings(Settings):
    """Figure 4 of Gotmare et al. 2018: modes and bends in two dimensions."""

    geometry: GeometryName = Field(description="whose points are embedded")
    perplexity: PositiveFloat = Field(5.0, description="of t-SNE; below the number of points")
    seed: Seed = 0


class FunctionsFigureSettings(Settings):
    """Figure 7 of Benton et al. 2021: networks on the two spirals, and their ensemble."""

    members: EnsembleName = Field(description="an ensemble of networks for two_spirals")
    shown: PositiveInt = Field(5, description="members that are drawn, spread over all of them")


class RegressionFigureSettings(Settings):
    """Figure 10 of Benton et al. 2021: ensembles of functions of one variable, and a table."""

    deep_ensemble: EnsembleName = Field(description="an ensemble of independent networks")
    espro: EnsembleName | None = Field(None, description="an ensemble of samples of simplexes")
    subspace: EnsembleName | None = Field(None, description="an ensemble of the method subspace")
    lines: PositiveInt = Field(10, description="functions that are drawn, spread over all of them")


class ShiftSettings(Settings):
    """Figure 11 and C.1 of Benton et al. 2021: ensembles on corrupted test images."""

    ensembles: dict[str, EnsembleName] = Field(
        min_length=1, description="a label such as ESPRO, and an ensemble"
    )
    corruptions: Annotated[
        list[CorruptionName],
        Field(min_length=1, description="of the test images"),
        AfterValidator(_name_each_once),
    ]
    severities: Annotated[list[Severity], Field(min_length=1), AfterValidator(_name_each_once)] = (
        Field([*SEVERITIES], description="those that the table shows; the figure shows all")
    )
    budget: PositiveInt | None = Field(
        None, description="of the ensembles that are shown; each one's largest if left out"
    )


class ComponentsRowSettings(Settings):
    """Ensembles on one network and data set whose seeds are components."""

    components: dict[str, EnsembleName] = Field(
        min_length=1,
        description="a label such as 2-simplex, and an ensemble; the others are compared with the "
        "first one",
    )
    published_as: CounterpartSettings | None = None


class ComponentsSettings(Settings):
    """Figures 8, 9, A.7 and A.8 of Benton et al. 2021: ensembles of more and more components."""

    rows: dict[str, ComponentsRowSettings] = Field(min_length=1)


class SamplesRowSettings(Settings):
    """Ensembles on one network and data set, of which the first members are shown."""

    sampled: dict[str, EnsembleName] = Field(
        min_length=1, description="a label such as 2-simplex, and an ensemble"
    )


class SamplesFigureSettings(Settings):
    """Figures A.4(b) and A.6 of Benton et al. 2021: ensembles of more and more samples."""

    rows: dict[str, SamplesRowSettings] = Field(min_length=1)
    orders: PositiveInt = Field(
        20, description="of the samples of each component, drawn at random, over which the mean is"
    )


class RegularisationFigureSettings(Settings):
    """Figure A.3 of Benton et al. 2021: simplexes trained with other weights of the volume."""

    regularised: Ensembles = Field(
        min_length=1,
        description="ensembles of the method simplex, each of a simplex of another regularisation",
    )


class SimplexPlaneFigureSettings(Settings):
    """Figure A.5 of Benton et al. 2021: the plane through three vertices of a simplex."""

    plane: PlaneName = Field(description="that plane")


class FacesFigureSettings(Settings):
    """Figures 3 and 6 of Benton et al. 2021: planes through the vertices of one complex."""

    faces: Planes = Field(
        min_length=1, description="planes, each through three vertices of the complex"
    )
    train_nll_clip: PositiveFloat | None = Field(
        None, description="nats; higher values share one colour"
    )


class ComplexesFigureSettings(Settings):
    """Figure 4 of Benton et al. 2021: complexes, projected to three dimensions."""

    complexes: TrainedComplexes


class VolumesFigureSettings(Settings):
    """Figure 5 of Benton et al. 2021: a complex while connectors are added to it."""

    complex: Complex = Field(description="between two modes, as simplex/seed")
    connectors: PositiveInt = Field(description="up to how many")
    accuracy: float = Field(
        98.0, ge=0.0, le=100.0, description="percent, that of the training set is compared with"
    )


class VolumesByWidthFigureSettings(Settings):
    """Figure A.4(a) of Benton et al. 2021: the same complex for networks of growing width."""

    complexes: TrainedComplexes
    option: WidthOption = "width"


class SamplingFigureSettings(Settings):
    """Figure A.2 of Benton et al. 2021: points drawn from two triangles, without any training."""

    samples: PositiveInt = Field(200, description="from each triangle")
    scale: PositiveFloat = Field(
        100.0, description="by which one vertex of the second triangle is longer"
    )
    seed: Seed = 0


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
    gotmare2018_modes: ModesTableSettings | None = None
    gotmare2018_figure1: ConnectionsFigureSettings | None = None
    gotmare2018_figure2: SchedulesFigureSettings | None = None
    gotmare2018_figure3: IteratesPlaneFigureSettings | None = None
    gotmare2018_figure4: GeometryFigureSettings | None = None
    gotmare2018_figure5: IteratesPlaneFigureSettings | None = None
    gotmare2018_figure6: IteratesPlaneFigureSettings | None = None
    gotmare2018_figure7: IteratesFigureSettings | None = None
    gotmare2018_figure8: ConnectionsFigureSettings | None = None
    gotmare2018_figure9: ConnectionsFigureSettings | None = None
    gotmare2018_figure10: ConnectionsFigureSettings | None = None
    benton2021_figure2: SampledBendFigureSettings | None = None
    benton2021_figure3: FacesFigureSettings | None = None
    benton2021_figure4: ComplexesFigureSettings | None = None
    benton2021_figure5: VolumesFigureSettings | None = None
    benton2021_figure6: FacesFigureSettings | None = None
    benton2021_figure_a2: SamplingFigureSettings | None = None
    benton2021_figure_a4a: VolumesByWidthFigureSettings | None = None
    benton2021_figure7: FunctionsFigureSettings | None = None
    benton2021_figure8: ComponentsSettings | None = None
    benton2021_figure9: ComponentsSettings | None = None
    benton2021_figure10: RegressionFigureSettings | None = None
    benton2021_figure11: ShiftSettings | None = None
    benton2021_c1: ShiftSettings | None = None
    benton2021_figure_a3: RegularisationFigureSettings | None = None
    benton2021_figure_a4b: SamplesFigureSettings | None = None
    benton2021_figure_a5: SimplexPlaneFigureSettings | None = None
    benton2021_figure_a6: SamplesFigureSettings | None = None
    benton2021_figure_a7: ComponentsSettings | None = None
    benton2021_figure_a8: ComponentsSettings | None = None


class FigureSettings(Settings):
    """A figure of your own: the function that draws it, and what it is given."""

    draw: str = Field(description=f"the function, {FORM}; adding.md has an example")
    title: str = Field(min_length=1, description="what reports call it")
    caption: str = Field(min_length=1, description="what it shows and how to read it, for reports")
    curves: Curves = Field([], description="curves whose grids it shows")
    planes: Planes = Field([], description="planes whose lattices it shows")
    networks: Networks = Field([], description="networks whose measurements it shows, recipe/seed")
    histories: Networks = Field([], description="networks whose trainings it shows, recipe/seed")
    ensembles: Ensembles = Field([], description="ensembles whose members and scores it shows")
    simplexes: Complexes = Field(
        [], description="complexes whose volumes and distances it shows, simplex/seed"
    )
    samples: Complexes = Field(
        [], description="complexes of whose points it shows the grids, simplex/seed/connectors"
    )

    @model_validator(mode="after")
    def _can_draw(self) -> Self:
        try:
            function, path = find_function(self.draw, "figure")
        except UserError as error:
            raise ValueError(str(error)) from error
        if not _takes_one_argument(function.args):
            raise ValueError(
                f"figure {self.draw!r} ({path}, line {function.lineno}): the function takes "
                f"({ast.unparse(function.args)}); it is given the results alone: write "
                f"def {function.name}(results)"
            )
        return self


FIGURE_PARTS = {
    "curves": "curves",
    "planes": "planes",
    "networks": "networks",
    "histories": "histories",
    "ensembles": "ensembles",
    "simplexes": "complexes",
    "samples": "samples",
}
"""What the keys of a figure of the user's own are the names of, as `artefact_parts` calls it."""


def _takes_one_argument(arguments: ast.arguments) -> bool:
    positional = len(arguments.posonlyargs) + len(arguments.args)
    needed = positional - len(arguments.defaults)
    takes_it = positional >= 1 or arguments.vararg is not None
    return takes_it and needed <= 1 and all(default for default in arguments.kw_defaults)


def artefact_base(artefact: str) -> str:
    """Return the artefact that a name means; a figure of the user's own is itself.

    Args:
        artefact: such as ``garipov2018_table2_cifar10_vgg16``, a row of ``garipov2018_table2``.
    """
    known = (name for name in ArtefactSettings.model_fields if artefact.startswith(name))
    return max(known, key=len, default=artefact)
