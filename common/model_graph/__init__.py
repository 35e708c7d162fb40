"""Models and their training as documents instead of code (side: library).

Role: what WebAssembly designs emit, what native code is exported to, what trusted code trains and serves. Reads and
holds documents only: nothing here imports torch or allocates by what a document says.

    nodes        the allow-list: one message for each kind of operation, its attributes typed
    parameters   the tensors of the state, and how each begins
    graph        `model-graph` v1: input, parameters, nodes in order, one output
    design       `design` v1: a graph, and how it is trained; `change` v1: what may differ from one round to the next
    rules        what each operation makes of shapes and types, what it costs, and that it keeps rows apart
    checking     a graph's rules applied in order, within bounds: the proof that inference is stateless and row by row
    reading      bytes to a checked document, or a refusal that names the node

docs/model-graph.md has the table of operations. common/sandboxed/graph_model.py executes such graphs.
"""
