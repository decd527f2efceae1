"""The page that lies beside a published adapter: what it is of, what it scores, how to load it and what to ask it with."""

from importlib import metadata
from pathlib import Path
from textwrap import indent

from agent.config.schema import RunConfig
from agent.run import wording
from agent.run.reading import RunRecords

_PAGE = """\
---
base_model: {base}
library_name: peft
pipeline_tag: image-text-to-text
---

# {name}: an adapter of {base}

A LoRA adapter of rank {rank}, tuned by gaptutor {version}: on the samples of {pool} ({samples:,}) that rounds 1 to {round} of the
run {name} selected.

| right answers | the base model | with this adapter |
|---|---|---|
{rows}

The validation set decided which round is kept, so that its figures lean upward; the holdout decided nothing.

Ask it with pictures first and then this prompt, as it was tuned and measured:

{prompt}

```python
from peft import PeftModel
from transformers import AutoModelForImageTextToText, AutoProcessor

model = AutoModelForImageTextToText.from_pretrained({base!r})
model = PeftModel.from_pretrained(model, {folder!r})
processor = AutoProcessor.from_pretrained({base!r})
```

Or on a vLLM server, under the name `{name}`:

    vllm serve {base} --enable-lora --max-lora-rank {rank} --lora-modules {name}={folder}
"""


def card(run: Path, config: RunConfig, best: int) -> str:
    """README.md of the adapter of round `best`."""
    records = RunRecords(run)
    rounds = {files.number: files for files in records.rounds}
    before, after = (rounds[number].evaluation if number in rounds else {} for number in (0, best))
    pairs = {"validation set": (before, after), "holdout": (before.get("holdout") or {}, after.get("holdout") or {})}
    rows = [
        f"| {name} ({wording.count(found.get('n', 0), 'item')}) | {wording.percent(was.get('accuracy'))} "
        f"| {wording.percent(found.get('accuracy'))} |"
        for name, (was, found) in pairs.items()
        if found
    ]
    return _PAGE.format(
        base=config.student.model,
        name=run.resolve().name,
        rank=config.tuning.rank,
        version=metadata.version("gaptutor"),
        samples=sum(len(rounds[number].selection) for number in rounds if 0 < number <= best),
        pool=config.pool.path.name,
        round=best,
        rows="\n".join(rows),
        prompt=indent(config.student.rationale_prompt, "    "),
        folder=str((run / "best").resolve()),
    )
