"""What happens in a run: said once, counted, shown, and how it can end."""
