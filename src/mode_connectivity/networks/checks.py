"""What the families refuse, said the same way by all of them."""

from mode_connectivity.settings import UserError


def require(met: bool, network: str, option: str, value: object, allowed: str) -> None:
    """Refuse an option whose value no network of the family can have.

    Args:
        met: whether the value is allowed.
        network: the name of the network.
        option: the name of the option.
        value: its value.
        allowed: what it must be, in words.

    Raises:
        UserError: ``met`` is false.
    """
    if not met:
        raise UserError(
            f"network {network!r}: option {option!r} is {value!r}; it must be {allowed}"
        )


def image_shape(
    network: str, input_shape: tuple[int, ...], *, smallest: int = 1, remedy: str = ""
) -> tuple[int, int, int]:
    """Return the ``(channels, height, width)`` of images that a network can take.

    Args:
        network: the name of the network.
        input_shape: the shape of one example.
        smallest: the height and width below which nothing is left after the last pooling.
        remedy: what the user may do besides enlarging the images.

    Raises:
        UserError: the examples are not images, or they are too small.
    """
    if len(input_shape) != 3:
        raise UserError(
            f"network {network!r}: examples have the shape {tuple(input_shape)}; it takes images "
            "(channels, height, width); choose network 'fully_connected' for other shapes"
        )
    channels, height, width = input_shape
    if min(height, width) < smallest:
        raise UserError(
            f"network {network!r}: images of {height}x{width} vanish in its poolings; the smallest "
            f"it takes is {smallest}x{smallest}; enlarge the images{remedy}"
        )
    return channels, height, width
