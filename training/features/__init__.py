"""What a pass over samples leaves behind."""
