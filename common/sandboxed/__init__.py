"""What runs inside a sandbox, beside provider code; it imports nothing of ours but itself (side: sandbox).

Role: load the provider's model, move numbers between windows and tensors, say when a unit of work is done.
Reads: the read-only windows and the bundle.  Holds: what the enclave put there.  Sends: bytes on one pipe whose values
are ignored, and one output buffer of a fixed size.

    wire              layout of control records, output header and start configuration (both sides import it; no torch)
    windows           the windows, mapped
    lockdown          limits, Landlock and the second system call filter, last thing before provider code is imported
    trapping          what the child learns of calls that its filter refuses
    landlock          what the kernel itself refuses to this process, where it can
    model_state       model <-> float32 vector
    graph_operations  what torch does for each operation of a model graph
    graph_model       a model graph as a torch module
    design_training   training as a design says, by trusted code instead of the provider's
    exporting         an `nn.Module` becomes a graph, through torch.export
    export_operations what each ATen operation becomes
    graph_writing     a graph as it is written down
    graph_names       what its parameters are called (both sides import it; no torch)
    local_training    build a provider's model, train it some steps (the client's plain twin imports this too)
    training_process  the main function of a training sandbox
    query_process     the main function of a query sandbox: a zygote that knows torch and nothing else
    measure_layout    what packing runs on the provider's own machine
"""
