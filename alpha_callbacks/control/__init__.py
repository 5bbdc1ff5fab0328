"""Learning rates and weight decays per layer, set from alpha while a model trains. Experimental."""
