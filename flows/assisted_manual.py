"""Stage 1: annotators make masks with SAM under the cursor; each round ends with a retraining."""

from flows.stage_runs import stage_flow

assisted_manual = stage_flow("assisted_manual")
