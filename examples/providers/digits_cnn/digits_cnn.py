"""A small convolutional network for handwritten digits: ordinary PyTorch, as a provider would write it (side: sandbox).

B images of a batch, H x W pixels.
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
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Dropout(0.3), nn.Linear(32 * 4 * 4, 64), nn.ReLU(), nn.Linear(64, 10)
        )

    def forward(self, image: Tensor) -> Tensor:
        """Logits [B, 10] for images [B, 8, 8]."""
        pixels = image.float().unsqueeze(1) / 16
        logits: Tensor = self.classifier(self.features(pixels))
        return logits

    def augment(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Shift each image by at most one pixel up or down, left or right."""
        image_BHW = batch["image"]
        shifted = functional.pad(image_BHW, (1, 1, 1, 1)).unfold(1, 8, 1).unfold(2, 8, 1)  # every shift of every image
        there = image_BHW.device
        down_B, right_B = torch.randint(0, 3, (2, len(image_BHW)), device=there)
        return {**batch, "image": shifted[torch.arange(len(image_BHW), device=there), down_B, right_B]}

    def training_step(self, batch: dict[str, Tensor]) -> Tensor:
        """Cross-entropy of one batch."""
        return functional.cross_entropy(self(batch["image"]), batch["label"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """SGD with momentum and a little weight decay."""
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)
