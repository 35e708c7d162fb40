"""ResNet-20 for small colour images (He, Zhang, Ren, Sun, CVPR 2016, section 4.2), as a provider would write it.

Side: sandbox.  B images of a batch, C channels, H x W pixels.

It runs on whatever device its batches are: what it makes is a buffer, which moves with the model, or is made there.
"""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional

CHANNEL_MEAN = (0.4914, 0.4822, 0.4465)
CHANNEL_DEVIATION = (0.2470, 0.2435, 0.2616)
"""Of CIFAR-10's training images with values from 0 to 1, as usually stated."""

PADDING = 4


class Block(nn.Module):
    """Two 3 x 3 convolutions around a shortcut without parameters (the paper's option A)."""

    def __init__(self, channels: int, wider: int, stride: int) -> None:
        super().__init__()
        self.stride, self.added = stride, wider - channels
        self.first = nn.Conv2d(channels, wider, 3, stride, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(wider)
        self.second = nn.Conv2d(wider, wider, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(wider)

    def forward(self, values: Tensor) -> Tensor:
        """[B, channels, H, W] to [B, wider, H / stride, W / stride]."""
        shortcut = values[:, :, :: self.stride, :: self.stride]
        if self.added:
            shortcut = functional.pad(shortcut, (0, 0, 0, 0, 0, self.added))
        inner = functional.relu(self.first_norm(self.first(values)))
        return functional.relu(self.second_norm(self.second(inner)) + shortcut)


class ResNet20(nn.Module):
    """Three stages of three blocks with 16, 32 and 64 channels; 269,722 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(16)
        widths = [16] * 4 + [32] * 3 + [64] * 3
        self.blocks = nn.Sequential(
            *(Block(channels, wider, wider // channels) for channels, wider in itertools.pairwise(widths))
        )
        self.classifier = nn.Linear(64, 10)
        self.register_buffer("mean_C11", torch.tensor(CHANNEL_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation_C11", torch.tensor(CHANNEL_DEVIATION).view(3, 1, 1), persistent=False)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Tensor) -> Tensor:
        """Logits [B, 10] for uint8 images [B, 3, 32, 32]."""
        pixels = (image.float() / 255 - self.mean_C11) / self.deviation_C11
        features = self.blocks(functional.relu(self.stem_norm(self.stem(pixels))))
        logits: Tensor = self.classifier(features.mean((2, 3)))
        return logits

    def augment(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The paper's: a random crop of the image within four more pixels of black; every second one is mirrored."""
        image_BCHW = batch["image"]
        count, _, height, width = image_BCHW.shape
        there = image_BCHW.device
        padded = functional.pad(image_BCHW, (PADDING,) * 4)
        down_B, right_B = torch.randint(0, 2 * PADDING + 1, (2, count), device=there)
        mirrored_B = torch.rand(count, device=there) < 0.5
        across_BW = torch.arange(width, device=there).expand(count, width)
        across_BW = right_B[:, None] + torch.where(mirrored_B[:, None], across_BW.flip(1), across_BW)
        down_BH = down_B[:, None] + torch.arange(height, device=there)
        chosen_B = torch.arange(count, device=there)[:, None, None]
        cropped_BHWC = padded.permute(0, 2, 3, 1)[chosen_B, down_BH[:, :, None], across_BW[:, None, :]]
        return {**batch, "image": cropped_BHWC.permute(0, 3, 1, 2).contiguous()}

    def training_step(self, batch: dict[str, Tensor]) -> Tensor:
        """Cross-entropy of one batch."""
        return functional.cross_entropy(self(batch["image"]), batch["label"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """SGD with momentum and weight decay as in the paper, and a steady rate: an outer optimiser is around it."""
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
