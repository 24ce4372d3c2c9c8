import pytest
from pipeline import Project, finished_project


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A small project with all its results, to read; copy it to change it."""
    return finished_project(tmp_path_factory)
