"""What an operation is: a name, a right, and phases.

`clean` and `admit` run in the request, on what is observed. The rest runs in the worker: `precheck` is live and
read-only, `execute` has the effects, `verify` asks the hypervisor what is true now, `rollback` undoes what it can.
`execute` and `rollback` may be entered again after a crash: each begins by asking what is true, and the journal
tells what was begun.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from access.actions import Action
from access.gate import Actor

if TYPE_CHECKING:
    from jobs.engine.context import JobContext
    from jobs.models import Job


class Operation(ABC):
    """One kind of work. Subclasses are stateless: everything about a run is in its job."""

    name: ClassVar[str]
    label: ClassVar[str]  # "Snapshot", completed by the target's name
    action: ClassVar[Action]
    target_kind: ClassVar[str] = "vm"

    def clean(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Validate the request's parameters and fill in defaults. Raises InvalidRequest."""
        from jobs.operations.params import no_params

        return no_params(params)

    def admit(self, actor: Actor, target: Any, params: dict[str, Any]) -> None:  # noqa: B027 - some need none
        """Refuse what the observed facts speak against. Reads the database only. Raises NotAdmitted, NotAllowed,
        NotVisible.
        """

    def admit_part(self, actor: Actor, target: Any, params: dict[str, Any], parent: Job) -> None:
        """The same for a part of a job, which may be about other targets as well."""
        self.admit(actor, target, params)

    def bound_by(self, params: Mapping[str, Any]) -> tuple[str, ...]:
        """The operations whose approval rules bind this work: its own, and those that it is made of."""
        return (self.name,)

    def asks_second_person(self, params: Mapping[str, Any]) -> bool:
        """Whether such work needs somebody else's approval whatever a segment's rules say."""
        return False

    def extent(self, actor: Actor, target: Any, params: dict[str, Any]) -> list[int]:
        """Ids of the VMs that work on something else than a VM will be about, as is observed now. Whose segment asks
        for approval, and what an approver decides on, goes by them.
        """
        return []

    def lock_targets(self, target: Any) -> list[str]:
        """Resources that the job holds from its submission to its end."""
        return [f"vm:{target.uuid}"] if self.target_kind == "vm" else [f"{self.target_kind}:{target.pk}"]

    def rights(self, context: JobContext) -> None:  # noqa: B027 - some operations need none
        """Check again, in the worker, every right that `admit` asked for beyond `action`. Raises NotAllowed,
        NotVisible.
        """

    def precheck(self, context: JobContext) -> None:  # noqa: B027 - some operations need none
        """Live and read-only. Raises OperationFailed with one reason."""

    @abstractmethod
    def execute(self, context: JobContext) -> None:
        """The effects. Re-enterable."""

    def verify(self, context: JobContext) -> None:  # noqa: B027 - some operations need none
        """Prove the result on the hypervisor. Raises OperationFailed."""

    def rollback(self, context: JobContext, error: BaseException) -> str:
        """Undo what `execute` began, and say so in a sentence ("" when there was nothing to undo). Idempotent;
        re-enterable.
        """
        return ""
