"""The expert teacher: it looks at the micro-world's pictures and answers as any teacher does, over the OpenAI chat
protocol."""

from eval.microworld.expert.app import MODEL, app, make_app
from eval.microworld.expert.options import Options

__all__ = ["MODEL", "Options", "app", "make_app"]
