"""The state machine: prepare → evaluate → decide → control → (finish | diagnose → review → retrieve → tune → evaluate)."""

from typing import Any, Literal

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from agent.loop.nodes.control import control
from agent.loop.nodes.decide import decide
from agent.loop.nodes.diagnose import diagnose
from agent.loop.nodes.evaluate import evaluate
from agent.loop.nodes.finish import finish
from agent.loop.nodes.prepare import prepare
from agent.loop.nodes.retrieve import retrieve
from agent.loop.nodes.review import review
from agent.loop.nodes.tune import tune
from agent.loop.state import State
from agent.run.context import Context


def go_on(state: State) -> Literal["finish", "diagnose"]:
    """After a decision and its control: another round, or the end."""
    return "finish" if state["stop_reason"] else "diagnose"


def if_any(state: State) -> Literal["control", "review"]:
    """After a diagnosis: there may be nothing to teach."""
    return "control" if state["stop_reason"] else "review"


def if_found(state: State) -> Literal["control", "tune"]:
    """After the selection: the pool may have nothing new."""
    return "control" if state["stop_reason"] else "tune"


def if_tuned(state: State) -> Literal["control", "evaluate"]:
    """After tuning: a failed one ends the loop, and the best adapter so far stays."""
    return "control" if state["stop_reason"] else "evaluate"


def if_served(state: State) -> Literal["control", "decide"]:
    """After an evaluation: an adapter that cannot be served ends the loop, and the best one so far stays."""
    return "control" if state["stop_reason"] else "decide"


def build_graph(checkpointer: "BaseCheckpointSaver[Any] | None" = None) -> "CompiledStateGraph[Any, Context, Any, Any]":
    """The compiled state machine."""
    graph: StateGraph[Any, Context, Any, Any] = StateGraph(State, context_schema=Context)
    for step in (prepare, evaluate, decide, control, diagnose, review, retrieve, tune, finish):
        graph.add_node(step.__name__, step)
    graph.add_edge(START, "prepare")
    graph.add_edge("prepare", "evaluate")
    graph.add_conditional_edges("evaluate", if_served)
    graph.add_edge("decide", "control")
    graph.add_conditional_edges("control", go_on)
    graph.add_conditional_edges("diagnose", if_any)
    graph.add_edge("review", "retrieve")
    graph.add_conditional_edges("retrieve", if_found)
    graph.add_conditional_edges("tune", if_tuned)
    graph.add_edge("finish", END)
    return graph.compile(checkpointer=checkpointer, name="gaptutor")
