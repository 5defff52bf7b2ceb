"""The native engine: the kernels of `native/`, compiled for several CPUs, through ctypes."""
