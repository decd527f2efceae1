"""What was paid: the journal of answers, and the budget."""
