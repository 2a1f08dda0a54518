"""SAM in PyTorch: encoders, decoder, predictor, registry and training. Knows pictures and masks, not stores."""
