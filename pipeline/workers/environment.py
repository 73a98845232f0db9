"""What worker processes are told in their environment, before their interpreter starts: JAX and its kin read it at import."""

ON_CPU = {
    "JAX_PLATFORMS": "cpu",
    "OMP_NUM_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "2",
}
"""Of a worker that draws on the processor; TF_CPP… silences XLA's start-up lines."""


def on_gpu(device_memory: float = 0.75) -> dict[str, str]:
    """Of a worker that draws on a GPU, which may take that share of the card's memory.

    Memory is not taken in advance, and XLA's sums have one order (a scatter on a GPU would otherwise add in any).
    """
    return {
        "JAX_PLATFORMS": "cuda,cpu",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "XLA_CLIENT_MEM_FRACTION": f"{device_memory:g}",
        "XLA_FLAGS": "--xla_gpu_deterministic_ops=true",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "OMP_NUM_THREADS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
