"""Same seed, same machine, same numbers."""

from pipeline import ITERATES, Project, comparable

TARGETS = (
    "garipov2018_table2_shapes",
    "garipov2018_trivial_path",
    "garipov2018_figure2",
    "garipov2018_figure4",
    "results/demo/planes/preresnet8_bezier/grid.csv",
    "results/demo/networks/preresnet8/seed1/evaluation/metrics.csv",
    "results/demo/ensembles/preresnet8_weight_average/metrics.csv",
    "results/demo/curves/lstm_bezier/grid.csv",
    "results/demo/curves/preresnet8_polychain/snapshots.csv",
    "results/demo/planes/narrow_sgdr/grid.csv",
    "gotmare2018_figure4",
    ITERATES,
)


def test_a_second_run_from_scratch_gives_the_same_bits(finished, tmp_path) -> None:
    """In another folder, on one core in place of two."""
    again = Project.create(tmp_path / "elsewhere" / "project")
    again.make(*TARGETS, cores=1)
    expected, found = comparable(finished.results), comparable(again.results)
    assert {path: expected[path] == found[path] for path in found} == dict.fromkeys(found, True)
    kinds = {path.split("/")[0] for path in found}
    assert kinds == {
        *("datasets", "networks", "curves", "planes", "geometries", "ensembles"),
        *("tables", "figures"),
    }


def test_a_redrawn_figure_and_a_remade_table_are_the_same_bytes(finished, tmp_path) -> None:
    project = finished.copy(tmp_path / "project")
    stems = [f"figures/garipov2018_figure{number}" for number in (1, 3, 6)]
    stems += ["tables/garipov2018_table1_shapes", "tables/garipov2018_curve_ensemble"]
    for stem in stems:
        for path in project.results.glob(f"{stem}.*"):
            path.unlink()
    project.make(*(f"results/demo/{stem}.csv" for stem in stems), cores=2)
    assert comparable(project.results) == comparable(finished.results)
