"""Adapters of alpha_callbacks to the packages that it calls: foreign formats, loggers, quantizers."""
