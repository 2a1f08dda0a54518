"""Stage 2: annotators mend and complete confident masks; each round ends with a retraining."""

from flows.stage_runs import stage_flow

semi_automatic = stage_flow("semi_automatic")
