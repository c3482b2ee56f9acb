"""SERAC's training: a small counterfactual model, and the classifier of its scope."""
