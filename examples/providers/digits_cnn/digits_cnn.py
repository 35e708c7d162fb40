"""A small convolutional network for handwritten digits: ordinary PyTorch, as a provider would write it (side: sandbox).

B images of a batch.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class DigitsCnn(nn.Module):
    """Two convolutions and two linear layers over 8 x 8 images with values from 0 to 16; 38,282 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(32 * 4 * 4, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, image: Tensor) -> Tensor:
        """Logits [B, 10] for images [B, 8, 8]."""
        pixels = image.float().unsqueeze(1) / 16
        logits: Tensor = self.classifier(self.features(pixels))
        return logits

    def augment(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Add a little noise, so that no image is seen twice."""
        image = batch["image"].float()
        return {**batch, "image": image + torch.randn_like(image)}

    def training_step(self, batch: dict[str, Tensor]) -> Tensor:
        """Cross-entropy of one batch."""
        return functional.cross_entropy(self(batch["image"]), batch["label"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Plain SGD with momentum."""
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)
