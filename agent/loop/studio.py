"""The state machine for LangGraph Studio (`langgraph.json`), which brings its own checkpointer.

Start it with the state that `agent.loop.drive` starts with; `run` is the path of a run folder that holds a configuration.
"""

from agent.loop.graph import build_graph

graph = build_graph()
