"""How good a model is: agreement of its masks with ground truth."""
