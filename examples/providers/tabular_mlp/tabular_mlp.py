"""A small perceptron for tables, designed from the data's profile: plain Python, no library (side: sandbox).

It runs in the `wasm` sandbox and never sees a row: `design` returns a document that says what to build and how to
train it, `after_epoch` steers by what a round says of itself.
"""

from itertools import pairwise


class TabularMlp:
    """Normalises each feature by the batch, then hidden layers that get narrower; halves the rate when it stalls."""

    def __init__(self):
        self.best = None
        self.stalled = 0

    def design(self, profile):
        """A `design` document for rows of one axis."""
        features = profile.columns[0].shape[0]
        hidden = self._hidden(profile)
        parameters, nodes = [], []
        for kind, begin in (("scale", "ones"), ("shift", "zeros"), ("mean", "zeros"), ("var", "ones")):
            trained = kind in ("scale", "shift")
            parameters.append(
                {"name": f"norm.{kind}", "shape": [features], "initial": {"kind": begin}, "trained": trained}
            )
        nodes.append({"op": "affine", "name": "numbers", "inputs": ["input"]})
        nodes.append(
            {
                "op": "batch_norm", "name": "norm", "inputs": ["numbers"], "weight": "norm.scale", "bias": "norm.shift",
                "running_mean": "norm.mean", "running_var": "norm.var",
            }
        )  # fmt: skip
        last, width = "norm", features
        for number, made in enumerate([*hidden, profile.answer[0]]):
            name = f"layer{number}"
            parameters.append(
                {"name": f"{name}.weight", "shape": [made, width], "initial": {"kind": "kaiming_uniform"}}
            )
            parameters.append({"name": f"{name}.bias", "shape": [made], "initial": {"kind": "zeros"}})
            nodes.append(
                {"op": "linear", "name": name, "inputs": [last], "weight": f"{name}.weight", "bias": f"{name}.bias"}
            )
            last, width = name, made
            if number < len(hidden):
                nodes.append({"op": "relu", "name": f"{name}.on", "inputs": [last]})
                last = f"{name}.on"
        return {
            "type": "design",
            "version": 1,
            "graph": {
                "type": "model-graph",
                "version": 1,
                "input": {"shape": list(profile.columns[0].shape), "dtype": profile.columns[0].dtype},
                "parameters": parameters,
                "nodes": nodes,
                "output": last,
            },
            "loss": {"kind": "cross_entropy", "label_smoothing": 0.02},
            "optimiser": {"kind": "adamw", "learning_rate": 0.01, "weight_decay": 0.01},
            "gradient_clip": 5.0,
        }

    def after_epoch(self, metrics):
        """None to go on, or half the rate after two rounds without progress."""
        if self.best is None or metrics.loss_mean < self.best - 1e-3:
            self.best, self.stalled = metrics.loss_mean, 0
            return None
        self.stalled += 1
        return {"learning_rate": 0.5 ** (self.stalled // 2)} if self.stalled >= 2 else None

    def _hidden(self, profile):
        """Two layers, as wide as the rows can support and the owner's bound on parameters allows."""
        features, answers = profile.columns[0].shape[0], profile.answer[0]
        width = max(4, min(64, profile.rows // 8))
        while width > 4 and self._count(features, (width, width // 2), answers) > profile.max_parameters:
            width -= 4
        return (width, width // 2)

    @staticmethod
    def _count(features, hidden, answers):
        sides = (features, *hidden, answers)
        return 4 * features + sum((one + 1) * other for one, other in pairwise(sides))
