"""What a table says about quantization: policies, plans, and their words for quantizers."""
