"""Why an answer is wrong: the step that is, the skill that is missing, and the gaps that these add up to."""
