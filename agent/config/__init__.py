"""The configuration: its schema, how it is read, and the prices of models."""
