"""Kernels: the operations that no library does well. Each is plain, readable torch that runs on any device."""
