"""Errors of the cluster tools, one class per action that the user can take."""

from tools.steps import StepError


class ClusterError(StepError):
    """A failure of the cluster itself."""

    def __init__(self, problem: str, next_step: str) -> None:
        """`problem`: what happened; `next_step`: what the person should do about it."""
        super().__init__(type(self).__name__, f"{problem}. {next_step}")
        self.problem = problem
        self.next_step = next_step


class PortInUseError(ClusterError):
    """Something already listens where the cluster must."""


class ToolMissingError(ClusterError):
    """A program or package of the machine is missing."""


class NotReadyError(ClusterError):
    """A part of the cluster did not become ready in time, or exited."""


class CannotRunNodeError(ClusterError):
    """This machine cannot run a node: a right, a file system or space is missing."""


class NotConfirmedError(ClusterError):
    """The cluster was not started by these tools, and its use for tests was not confirmed."""


class NoSuchClusterError(ClusterError):
    """No cluster of that name is up."""
