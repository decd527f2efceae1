"""LoRA: a tuning from job to adapter, its checks, its probes, and merging."""
