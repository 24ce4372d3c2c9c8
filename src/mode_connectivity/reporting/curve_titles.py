"""What tables and figures call the curves between two networks."""


def curve_title(kind: str, *, matching: str | None = None, renormalise: bool = False) -> str:
    """Return what a table calls a curve.

    Args:
        kind: its kind.
        matching: by what the units of its end are matched to those of its start, if they are.
        renormalise: whether its points are renormalised.
    """
    title = kind.replace("_", " ").capitalize()
    if not (matching or renormalise):
        return title
    # Bezier keeps its capital.
    return ("Aligned " if matching else "Renormalised ") + (
        title if kind == "bezier" else title.lower()
    )


def curve_note(*, matching: str | None = None, renormalise: bool = False) -> str:
    """Return what sets a curve apart from those of the papers, if anything does."""
    changes = []
    if matching:
        changes.append(
            f"the units of its end are permuted to match those of its start by their {matching} "
            "(Ainsworth et al. 2022)"
        )
    if renormalise:
        changes.append(
            "at every point the outputs of layers without batch norm are given the mean statistics "
            "of both ends (REPAIR, Jordan et al. 2022)"
        )
    return f"not in the paper: {', and '.join(changes)}" if changes else ""
