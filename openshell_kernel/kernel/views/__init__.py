"""How `%policy` shows what it knows: one view, as HTML and as text."""
