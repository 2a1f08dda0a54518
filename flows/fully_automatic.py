"""Stage 3: the generator makes the masks of all images; then the model is retrained on all masks."""

from flows.stage_runs import stage_flow

fully_automatic = stage_flow("fully_automatic")
