"""What an adapter changes in the weights of its base, from the tensors that it is saved as.

`names` finds out which tensors belong together, `methods` has the formula of each method, `read_adapter` puts both to
work. An adapter changes a weight in one of two ways: by a matrix that it holds itself (LoRA, LoHa, LoKr, VeRA,
AdaLoRA), or by a function of the weight, so that only the base tells the change (DoRA, IA3, OFT).
"""
