"""Gates that masks pass on their way: verification, exhaustivity and the audit by experts."""
