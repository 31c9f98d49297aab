"""What hardware there is: values, nothing applied."""
