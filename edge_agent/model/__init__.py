"""A built model on disk: what the model tools write and the daemon reads. Nothing here imports torch.

A model directory holds

    model.json                    the sidecar: everything about the model except its weights
    torchscript-fp16.pt           the TorchScript module for the torchscript engine
    torchscript-fp32.pt
    xnnpack-fp16.plan.json        the lowered graph for the xnnpack engine ...
    xnnpack-fp16.weights          ... and its weights blob, memory-mapped at run time
    xnnpack-fp32.plan.json
    xnnpack-fp32.weights

The sidecar lists the files that exist with their size and sha256: a model that cannot be lowered has no
`xnnpack-*` files.
"""
