"""The `wasm` sandbox: a provider's design code in WebAssembly, without any system interface (side: enclave).

Role: design code sees a profile of the data, emits a `design` document (common/model_graph) and steers by metrics;
trusted code builds and trains what it designed. Reads: an opened bundle, a profile, metrics. Sends: nothing. Holds: one
instance a job, in the enclave's own process: an escape from wasmtime reaches the enclave's keys (docs/threat-model.md).

    design.wit   what a component exports; it imports nothing
    limits       what design code may use up
    outline      a component's sections, read before wasmtime sees it: size, functions, imports
    interface    profile, metrics and steering as values of the component model; the types that exports must have
    engine       wasmtime's configuration, and compiling within a deadline
    compiled     compiled components, sealed for the next launch
    instance     one instance: fuel, deadline, limits
    designer     WasmDesigner, the one class that a trainer needs

Components, not core modules with an ABI of our own: wasmtime checks every pointer, length and encoding of the canonical
ABI in Rust, and no line of ours reads a guest's memory.
"""
