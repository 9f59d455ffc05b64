"""Kernels written for numba: source only, compiled at a desk (`jit`) or by `swath-ground build` (`aot`).

A kernel takes pointers, int64 sizes and float scalars, as `flight/kernels/registry.py` declares it; `carray(pointer,
shape)` makes an array of a pointer. It works in buffers of the caller, allocates nothing, raises nothing and calls
nothing that is not in `flight.kernels.native` (no `float ** int`, no `math.exp`): the build refuses a shared object
that needs any symbol beyond a few. Sums run in a fixed order, and a product and a sum are one rounding only where `fma`
says so: then every target gives the same bits. What kernels share is a function under `@helper`.

No module on board imports these files: numba is not there.
"""
