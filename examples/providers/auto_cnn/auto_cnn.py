"""A convolutional network that chooses its own depth, width and learning rate: plain Python (side: sandbox).

It runs in the `wasm` sandbox and never sees an image. Depth follows the image's sides, width the number of rows and the
bounds on parameters and operations, the learning rate the batch; afterwards it steers by the losses of the rounds.
"""

from itertools import pairwise

WIDTHS = (64, 48, 32, 24, 16, 12, 8, 4)
LARGE_SIDE = 32
LONG_TRAINING = 20


class AutoCnn:
    """Blocks of convolution, batch norm and ReLU that double the channels and halve the sides; one linear layer."""

    def __init__(self):
        self.losses = []

    def design(self, profile):
        """Blocks as `_widths` says, and the pooled channels to one logit for each class."""
        column = profile.columns[0]
        channels, height, width = column.shape if len(column.shape) == 3 else (1, *column.shape)
        strided = min(height, width) >= LARGE_SIDE
        widths = self._widths(profile, channels, (height, width), strided)
        graph = _Graph(column)
        last, taken = graph.normalised(column, (channels, height, width)), channels
        for number, made in enumerate(widths):
            last = graph.block(f"block{number}", last, taken, made, strided and number == 0)
            taken = made
        graph.node("mean", last, name="pooled", axes=[2, 3])
        graph.linear("head", "pooled", taken, profile.answer[0])
        total = profile.rounds * profile.steps_per_round
        warmup = total // 20
        return {
            "type": "design",
            "version": 1,
            "graph": graph.document("head"),
            "loss": {"kind": "cross_entropy", "label_smoothing": 0.05},
            "optimiser": {
                "kind": "sgd", "learning_rate": min(0.2, 0.05 * profile.batch_rows / 32), "momentum": 0.9,
                "nesterov": True, "weight_decay": 5e-4,
            },
            "schedule": {
                "kind": "cosine", "steps": max(1, total - warmup), "final_factor": 0.02, "warmup_steps": warmup,
            },
            "augmentation": self._augmentation(profile, channels, min(height, width)),
        }  # fmt: skip

    def after_epoch(self, metrics):
        """A third of the rate once the loss grows again; an end once it is no number any more."""
        self.losses.append(metrics.loss_mean)
        if metrics.loss_last != metrics.loss_last or metrics.loss_last > 100:
            return "stop"
        rises = sum(later > earlier * 1.05 for earlier, later in pairwise(self.losses))
        return {"learning_rate": 3.0 ** -min(rises, 6)} if rises else None

    def _widths(self, profile, channels, sides, strided):
        """Channels of each block: the deepest network that fits, and of those the widest that the rows support."""
        for depth in range(self._depth(min(sides)), 1, -1):
            for wide in WIDTHS:
                widths = [wide << number for number in range(depth)]
                supported = wide == WIDTHS[-1] or profile.rows >= 20 * wide
                if supported and self._fits(profile, channels, sides, widths, strided):
                    return widths
        return [WIDTHS[-1], WIDTHS[-1]]

    @staticmethod
    def _depth(side):
        """One block for each time that the side can be halved down to 2, at least two, at most four."""
        depth = 2
        while depth < 4 and side >= 4 << depth:
            depth += 1
        return depth

    @staticmethod
    def _augmentation(profile, channels, side):
        """Colour images are mirrored, for digits and letters have none; crops pay in a long training alone."""
        if channels != 3:
            return []
        kinds = [{"kind": "flip", "axis": 3}]
        seen = profile.rounds * profile.steps_per_round * profile.batch_rows * profile.trainers
        if seen >= LONG_TRAINING * profile.rows:
            kinds.append({"kind": "random_crop", "padding": max(1, side // 8), "axes": [2, 3]})
        return kinds

    @staticmethod
    def _fits(profile, channels, sides, widths, strided):
        """Whether parameters and operations are within the bounds, counted as the allow-list's rules do, or more."""
        places = sides[0] * sides[1]
        values, operations = 0, 4 * channels * places
        for number, made in enumerate(widths):
            halved = [(side + 1) // 2 for side in sides]  # as a stride does; pooling leaves the odd one out
            places = halved[0] * halved[1] if strided and number == 0 else sides[0] * sides[1]
            values += made * channels * 9 + 4 * made
            operations += (2 * 9 * channels + 6) * made * places
            channels, sides = made, halved
        values += (channels + 1) * profile.answer[0]
        operations += channels * sides[0] * sides[1] + (2 * channels + 1) * profile.answer[0]
        return values <= profile.max_parameters and operations <= profile.max_flops_per_row


class _Graph:
    """A `model-graph` document while it grows."""

    def __init__(self, column):
        self.input = {"shape": list(column.shape), "dtype": column.dtype}
        self.parameters, self.nodes = [], []

    def node(self, op, *inputs, name, **attributes):
        self.nodes.append({"op": op, "name": name, "inputs": list(inputs), **attributes})
        return name

    def parameter(self, name, shape, kind, *, trained=True):
        self.parameters.append({"name": name, "shape": shape, "initial": {"kind": kind}, "trained": trained})
        return name

    def normalised(self, column, sides):
        """Mean 0 and deviation 1 by the profile, as (channels, height, width)."""
        scale = 1 / max(column.std, 1e-6)
        self.node("affine", "input", name="numbers", scale=[scale], shift=[-column.mean * scale])
        return self.node("reshape", "numbers", name="image", shape=list(sides))

    def block(self, name, last, channels, made, strided):
        """Convolution 3 x 3, batch norm, ReLU, and half the sides: by the convolution's stride, or by pooling."""
        weight = self.parameter(f"{name}.weight", [made, channels, 3, 3], "kaiming_normal")
        norm = {
            "weight": self.parameter(f"{name}.scale", [made], "ones"),
            "bias": self.parameter(f"{name}.shift", [made], "zeros"),
            "running_mean": self.parameter(f"{name}.mean", [made], "zeros", trained=False),
            "running_var": self.parameter(f"{name}.var", [made], "ones", trained=False),
        }
        stride = [2, 2] if strided else [1, 1]
        self.node("conv2d", last, name=f"{name}.conv", weight=weight, stride=stride, padding=[1, 1])
        self.node("batch_norm", f"{name}.conv", name=f"{name}.norm", **norm)
        self.node("relu", f"{name}.norm", name=f"{name}.on")
        return (
            f"{name}.on" if strided else self.node("max_pool2d", f"{name}.on", name=name, kernel=[2, 2], stride=[2, 2])
        )

    def linear(self, name, last, taken, made):
        weight = self.parameter(f"{name}.weight", [made, taken], "xavier_uniform")
        bias = self.parameter(f"{name}.bias", [made], "zeros")
        return self.node("linear", last, name=name, weight=weight, bias=bias)

    def document(self, output):
        return {
            "type": "model-graph", "version": 1, "input": self.input, "parameters": self.parameters,
            "nodes": self.nodes, "output": output,
        }  # fmt: skip
