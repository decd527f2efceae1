"""The run folder: its files, what may change when it goes on, what is read back from it, and how it is worded."""
