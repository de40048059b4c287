"""New messages on their way into a thread: what several requests add, decided before anything is written."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from jan.errors import FailedPreconditionError, JanError
from jan.ids import MessageId, ThreadId
from storage_service.store import jsonl
from storage_service.store.forms import messages as form
from storage_service.store.jsonl import Line
from storage_service.store.message_index import MessageIndex
from storage_service.store.records import Message, MessageStatus
from storage_service.store.revisions import revision_of


@dataclass(frozen=True, slots=True)
class KnownRuns:
    """The runs of a thread by their ids, and the one that holds it, if any."""

    active: str | None = None
    ids: Collection[str] = ()


class Batch:
    """The messages that requests add to a thread, in order of arrival, and their lines.

    `index` is the thread's as it stands, `runs` what is known of its runs, `clock_ms` now by the wall clock.
    """

    def __init__(self, thread_id: ThreadId, index: MessageIndex, runs: KnownRuns, clock_ms: int) -> None:
        self._thread_id = thread_id
        self._index = index
        self._runs = runs
        self._last_ms = index.last_created_ms()
        self._now_ms = max(clock_ms, self._last_ms)
        self.messages: dict[MessageId, Message] = {}
        self.lines: list[Line] = []
        # Messages that were asked for and are in the thread already: where.
        self.known: dict[MessageId, int] = {}

    def add(self, messages: Sequence[Message]) -> JanError | None:
        """Take in a request's messages, or none of them and answer why.

        FailedPreconditionError: a run holds the thread, and a message is not that run's; or a message is the answer
        of a run that the thread does not have. TooLargeError.
        """
        new: dict[MessageId, Message] = {}
        lines: list[Line] = []
        last_ms = self._last_ms
        try:
            for message in messages:
                if not self._is_new(message.id) or message.id in new:
                    continue
                self._check_not_held(message)
                made = stamped(message, self._thread_id, self._now_ms, last_ms)
                lines.append(jsonl.new_line(form.to_json(made)))
                new[made.id] = replace(made, revision=revision_of(lines[-1].data[:-1]))
                last_ms = max(last_ms, made.created_ms)
        except JanError as error:
            return error.with_traceback(None)  # It is a value now, and must not keep its frames.
        self.messages |= new
        self.lines += lines
        self._last_ms = last_ms
        return None

    def _is_new(self, message_id: MessageId) -> bool:
        """Whether a message is neither in the thread nor on its way there; where it is, is noted."""
        if message_id in self.messages:
            return False
        ordinal = self._index.by_id.get(message_id)
        if ordinal is None:
            return True
        self.known[message_id] = ordinal
        return False

    def _check_not_held(self, message: Message) -> None:
        active = self._runs.active
        if active is not None and message.run_id != active:
            raise FailedPreconditionError(f"Can't add messages to {self._thread_id} while a run {active} is active.")
        # A restore may have replaced the thread under its run: that answers a question which is not here.
        if message.run_id and message.run_id not in self._runs.ids:
            raise FailedPreconditionError(
                f"Thread {self._thread_id} has no run {message.run_id:.64}.", code="unknown_run", param="run_id"
            )


def stamped(message: Message, thread_id: ThreadId, now_ms: int, last_ms: int = 0) -> Message:
    """A new message with its thread and times: made now, and whole or ended early now when it says that it is.

    An answer that says when it was begun keeps that time, unless it lies in front of the thread's last message.
    """
    return replace(
        message,
        thread_id=thread_id,
        created_ms=min(max(message.created_ms, last_ms), now_ms) if message.created_ms else now_ms,
        completed_ms=now_ms if message.status is MessageStatus.COMPLETED else None,
        incomplete_ms=now_ms if message.status is MessageStatus.INCOMPLETE else None,
    )
