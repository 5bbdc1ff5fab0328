"""What torch.save, DCP, DeepSpeed and Megatron write: pickles are read as data and never run, files are not mapped."""
