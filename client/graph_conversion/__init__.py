"""A provider's model as a model graph: converted on the provider's machine (side: owner: the provider's machine).

    building    a graph that grows node by node, each checked by its rule where it is added
    module      an `nn.Module`, by what a sandbox exports modules with (common/sandboxed/exporting.py), and checked
    onnx_file   an ONNX file, through the onnx package: its operators to those of the allow-list

A model that can't be said with the allow-list is refused with the place in it (`format.design`); nothing is guessed.
What is converted from a module is compared with the module on the rows that were given, before it is returned.
"""

from client.graph_conversion.building import Converted
from client.graph_conversion.module import convert_module
from client.graph_conversion.onnx_file import convert_onnx

__all__ = ["Converted", "convert_module", "convert_onnx"]
