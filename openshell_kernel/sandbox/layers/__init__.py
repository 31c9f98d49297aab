"""The protections, one room each; `table` has them in order, `contract` says what each room has."""
