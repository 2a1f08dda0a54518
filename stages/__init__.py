"""What a stage of the data engine does: rounds, hand-over, annotators and retraining. Plain Python, no Prefect."""
