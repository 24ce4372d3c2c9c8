"""Recurrent language models."""

from torch import Tensor, nn

from mode_connectivity.networks.checks import require
from mode_connectivity.networks.registry import network


class LanguageModel(nn.Module):
    """A word-level LSTM whose state is carried from one window of a text to the next.

    The state is no parameter and no buffer: it belongs to a pass through a text, not to the
    network (see :mod:`mode_connectivity.networks.carried_state`).

    Args:
        words: size of the vocabulary.
        hidden: width of the embedding and of each layer.
        layers: number of LSTM layers.
        dropout: probability, of the embedding's and of each layer's outputs.
        initial_range: all parameters are drawn uniformly within this distance of zero.
    """

    def __init__(
        self, words: int, hidden: int, layers: int, dropout: float, initial_range: float
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, hidden)
        self.lstm = nn.LSTM(
            hidden,
            hidden,
            layers,
            batch_first=True,
            dropout=dropout if layers > 1 else 0.0,
        )
        self.output = nn.Linear(hidden, words)
        self.dropout = nn.Dropout(dropout)
        self.state: tuple[Tensor, Tensor] | None = None
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -initial_range, initial_range)

    def reset_state(self) -> None:
        """Begin at zero with the next window."""
        self.state = None

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits of the next words.

        Args:
            tokens: int64 [B, T], the next window of B streams.

        Returns:
            float [B, T, words].
        """
        outputs, (hidden, cell) = self.lstm(self.dropout(self.embedding(tokens)), self.state)
        self.state = hidden.detach(), cell.detach()
        logits: Tensor = self.output(self.dropout(outputs))
        return logits


@network(title="LSTM")
def lstm(
    *,
    input_shape: tuple[int, ...],
    classes: int,
    hidden: int = 200,
    layers: int = 2,
    dropout: float = 0.0,
    initial_range: float = 0.1,
) -> LanguageModel:
    """The word-level language model of the TensorFlow tutorial that Garipov et al. 2018 connect.

    Its small, medium and large forms have ``hidden`` 200, 650 and 1,500, ``dropout`` 0, 0.5 and
    0.65, ``initial_range`` 0.1, 0.05 and 0.04; Table 3's perplexities are those of the large one.
    PyTorch's LSTM has two bias vectors where TensorFlow's has one; their sum takes its place, and
    moves twice as far in a step.

    Args:
        input_shape: not looked at: a text has none.
        classes: number of words.
        hidden: width of the embedding and of each layer.
        layers: number of LSTM layers.
        dropout: probability, of the embedding's and of each layer's outputs.
        initial_range: all parameters are drawn uniformly within this distance of zero.

    Returns:
        A network from tokens ``[batch, steps]`` to ``[batch, steps, classes]``.

    Raises:
        UserError: an option is out of its range.
    """
    require(hidden >= 1, "lstm", "hidden", hidden, "a width of at least 1")
    require(layers >= 1, "lstm", "layers", layers, "at least one layer")
    require(0 <= dropout < 1, "lstm", "dropout", dropout, "a probability below 1")
    require(initial_range > 0, "lstm", "initial_range", initial_range, "a number above 0")
    return LanguageModel(classes, hidden, layers, dropout, initial_range)
