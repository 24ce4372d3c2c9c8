"""Texts for language models, as batches of windows of parallel streams."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mode_connectivity.data.batches import Batch
from mode_connectivity.data.settings import AugmentationSettings
from mode_connectivity.settings import UserError

IGNORED = -100
"""Target of a step that is not counted; PyTorch's losses leave it out."""
WARM_UP = 100
"""Steps by which a stream's state settles before its predictions are counted."""
SHORTEST_STREAM = 1000
"""Counted steps of a stream, at least, so that warming up stays a small part of the work.

Never below twice ``WARM_UP``: the first stream has no warm-up and must reach the second's."""
EVALUATED_STEPS = 35
LOGITS_AT_ONCE = 2**24


@dataclass(frozen=True, eq=False)
class TokenStream:
    """A text on one device: each token is predicted from those before it.

    Attributes:
        tokens: int32 [N], indices of the vocabulary.
        vocabulary: number of words.
    """

    tokens: Tensor
    vocabulary: int

    def __len__(self) -> int:
        return len(self.tokens) - 1

    @property
    def targets(self) -> Tensor:
        """What is predicted: every token but the first, int64 [N - 1]."""
        return self.tokens[1:].long()

    def iterations(self, batch_size: int, *, window: int) -> int:
        """Return the number of batches of a pass for training."""
        return math.ceil(len(self) // batch_size / window)

    def batches(
        self,
        batch_size: int,
        *,
        window: int,
        shuffle: bool = False,
        augmentation: AugmentationSettings | None = None,
        generator: torch.Generator | None = None,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> Iterator[Batch]:
        """Go once through the text, as truncated back-propagation through time does.

        The text is cut into ``batch_size`` streams of equal length (what is left over, fewer
        tokens than there are streams, is not used), and a batch is the next window of each: a
        network that carries its state from batch to batch reads every stream from its beginning
        to its end. The order is the text's own; ``shuffle``, ``generator`` and ``memory_format``
        are those of image sets and change nothing.

        Args:
            batch_size: number of streams.
            window: steps of a batch; the last one may be shorter. The TensorFlow tutorial, which
                Garipov et al. 2018 (A.5) trained, leaves such a last window out.
            shuffle: not looked at.
            augmentation: must have no transforms.
            generator: not looked at.
            memory_format: not looked at.

        Raises:
            UserError: the text is shorter than the number of streams.
            ValueError: it is to be augmented.
        """
        if augmentation and augmentation.transforms:
            raise ValueError("a text is not augmented")
        length = len(self) // batch_size
        if length < 1:
            raise UserError(
                f"the training part has {len(self.tokens)} tokens, too few for {batch_size} "
                "streams of a token and the next: lower the batch_size of the training"
            )
        used = length * batch_size
        inputs = self.tokens[:used].view(batch_size, length)
        targets = self.tokens[1 : used + 1].view(batch_size, length)
        return self._windows(inputs, targets, window)

    def prepared_batches(
        self,
        batch_size: int,
        *,
        memory_budget: int = 2**30,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> Iterable[Batch]:
        """Return batches in which every token but the first is predicted once.

        Read as one stream, a text would be evaluated one step at a time. Here it is cut into
        several, each of which begins ``WARM_UP`` tokens before its counted part, so that its state
        is all but that of the one stream; a single stream is exact.

        Args:
            batch_size: largest number of streams; none is shorter than ``SHORTEST_STREAM``.
            memory_budget: not looked at: tokens are small.
            memory_format: not looked at.
        """
        total = len(self)
        streams = max(1, min(batch_size, total // SHORTEST_STREAM))
        warm_up = WARM_UP if streams > 1 else 0
        length = math.ceil((total - warm_up) / streams)
        steps = torch.arange(warm_up + length, device=self.tokens.device)
        places = length * torch.arange(streams, device=steps.device).unsqueeze(1) + steps
        # The first stream begins with the text and counts from its first step.
        counted = (places < total) & ((places < length) | (steps >= warm_up))
        places.clamp_(max=total - 1)
        inputs = self.tokens[places]
        targets = self.tokens[places + 1].long().masked_fill(~counted, IGNORED)
        window = max(1, min(EVALUATED_STEPS, LOGITS_AT_ONCE // (streams * self.vocabulary)))
        return list(self._windows(inputs, targets, window))

    @staticmethod
    def _windows(inputs: Tensor, targets: Tensor, window: int) -> Iterator[Batch]:
        for start in range(0, inputs.shape[1], window):
            part = slice(start, start + window)
            yield inputs[:, part].long(), targets[:, part].long()
