"""Low-bit formats as round trips: plain torch, any shape, fp32 in and out (fp64 in and out for fp64)."""
