"""List the networks and their options: ``python -m mode_connectivity.networks``."""

from mode_connectivity.networks.registry import available


def main() -> None:
    """Print a line a network: its name, title, and options with their defaults."""
    for name, network in sorted(available().items()):
        options = ", ".join(f"{key}: {option.default}" for key, option in network.options.items())
        print(f"{name:20} {network.title:22} {options}")


if __name__ == "__main__":
    main()
