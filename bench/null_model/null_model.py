"""A model that computes next to nothing (side: sandbox): ten scores out of the first ten values of an image.

B images of a batch, C channels, H x W pixels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class NullModel(nn.Module):
    """One linear layer on ten values."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(10, 10)

    def forward(self, image: Tensor) -> Tensor:
        """Scores [B, 10] for uint8 images [B, C, H, W]."""
        scores: Tensor = self.layer(image[:, 0, 0, :10].float() / 255)
        return scores

    def training_step(self, batch: dict[str, Tensor]) -> Tensor:
        """Cross-entropy of one batch."""
        return functional.cross_entropy(self(batch["image"]), batch["label"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Plain SGD."""
        return torch.optim.SGD(self.parameters(), lr=0.1)
