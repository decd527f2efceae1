"""The student under evaluation, behind one interface."""

from agent.config import StudentConfig
from agent.student.engine import Reply, Request, Student

__all__ = ["Reply", "Request", "Student", "make_student"]


def make_student(config: StudentConfig) -> Student:
    """The engine that the configuration asks for. Nothing is loaded before the first call."""
    # Imported here so that commands which need no student do not pay seconds for importing torch.
    from agent.student.embedded import EmbeddedStudent

    return EmbeddedStudent(config)
