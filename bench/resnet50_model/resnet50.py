"""ResNet-50 (He, Zhang, Ren, Sun, CVPR 2016, table 1), as a provider would write it (side: sandbox).

Its stride is in the 3 x 3 convolution, as all frameworks have it since. B images of a batch, C channels, H x W pixels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))
"""Inner channels, blocks, and the stride of the first block."""

EXPANSION = 4


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions around a shortcut, which is projected where shapes differ."""

    def __init__(self, channels: int, inner: int, stride: int) -> None:
        super().__init__()
        outer = EXPANSION * inner
        self.first = nn.Sequential(nn.Conv2d(channels, inner, 1, bias=False), nn.BatchNorm2d(inner))
        self.second = nn.Sequential(nn.Conv2d(inner, inner, 3, stride, 1, bias=False), nn.BatchNorm2d(inner))
        self.third = nn.Sequential(nn.Conv2d(inner, outer, 1, bias=False), nn.BatchNorm2d(outer))
        self.shortcut = nn.Sequential()
        if channels != outer:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, outer, 1, stride, bias=False), nn.BatchNorm2d(outer))

    def forward(self, values: Tensor) -> Tensor:
        """[B, channels, H, W] to [B, 4 inner, H / stride, W / stride]."""
        made = functional.relu(self.second(functional.relu(self.first(values))))
        return functional.relu(self.third(made) + self.shortcut(values))


class ResNet50(nn.Module):
    """25,557,032 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64))
        blocks, channels = [], 64
        for inner, count, stride in STAGES:
            for block in range(count):
                blocks.append(Bottleneck(channels, inner, 1 if block else stride))
                channels = EXPANSION * inner
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(channels, 1000)

    def forward(self, image: Tensor) -> Tensor:
        """Logits [B, 1000] for uint8 images [B, 3, 224, 224]."""
        pixels = (image.float() / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(DEVIATION).view(3, 1, 1)
        features = functional.max_pool2d(functional.relu(self.stem(pixels)), 3, 2, 1)
        logits: Tensor = self.classifier(self.blocks(features).mean((2, 3)))
        return logits

    def training_step(self, batch: dict[str, Tensor]) -> Tensor:
        """Cross-entropy of one batch."""
        return functional.cross_entropy(self(batch["image"]), batch["label"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """SGD, slowly: it is asked how fast it answers, not how well."""
        return torch.optim.SGD(self.parameters(), lr=1e-4)
