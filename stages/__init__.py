"""What a stage of the data engine does: rounds, hand-over rules, annotators and retraining. Plain Python, no Prefect."""
