"""Mistakes in what readers are told, and in requests that come again."""

from __future__ import annotations

from typing import Final

from tests.planted.bug import Bug

_SCRIPTS = "protos/jan/queue/scripts"
_FOLLOWER = "tests/jan/queue/test_follower.py"
_IDEMPOTENCY = "tests/gateway/idempotency/test_requests.py"
_HOSTILE = "tests/gateway/http/test_hostile_clients.py"

STREAMS: Final = (
    # Streams without gap or repeat, readers that do not read.
    Bug(
        "a stream goes on with another answer when Redis forgot the first",
        "protos/jan/queue/subscription.py",
        "        if self._generation and not goes_on:\n",
        "        if False:\n",
        f"{_FOLLOWER}::test_a_log_that_begins_anew_is_not_taken_for_its_predecessor",
    ),
    Bug(
        "a worker goes on in the name of the one before, though Redis forgot what that one said last",
        f"{_SCRIPTS}/publish.lua",
        "add(log, number, 'g', token, 'p',",
        "add(log, number, 'g', fields[4], 'p',",
        "tests/jan/queue/test_rolled_back.py::test_a_reader_is_not_told_the_end_of_another_answer",
    ),
    Bug(
        "any other writer is taken for the next one",
        "protos/jan/queue/scripts/publish.lua",
        "marks = {'b', follows}",
        "marks = {'b', redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1][2][2]}",
        "tests/jan/queue/test_rolled_back.py::test_a_reader_is_not_told_it_of_the_third_that_went_on_either",
    ),
    Bug(
        "who has heard more than Redis remembers waits for what never comes",
        "gateway/queueing/jobs.py",
        "            known = known and await self._follower.holds(self._subscription)\n",
        "",
        "tests/gateway/queueing/test_resumption.py::test_a_chat_of_which_redis_forgot_the_last_words_is_lost",
    ),
    Bug(
        "a run's stream goes on behind what it told of an answer that Redis forgot",
        "gateway/runs/retelling.py",
        """ or head.endswith(b".delta")""",
        "",
        "tests/gateway/runs/test_retelling.py::test_a_stream_does_not_mix_two_answers_when_redis_forgets",
    ),
    Bug(
        "a stream is taken up in another answer than the one that its reader knows",
        "protos/jan/queue/subscription.py",
        "        self._generation = generation\n",
        '        self._generation = b""\n',
        f"{_FOLLOWER}::test_a_log_is_not_taken_up_behind_an_event_of_its_predecessor",
    ),
    Bug(
        "a response is taken up behind an answer that Redis has just forgotten",
        "gateway/responses/stream.py",
        "(knows_more or run.status in states.TERMINAL)",
        "run.status in states.TERMINAL",
        "tests/gateway/responses/test_retelling.py::test_nothing_is_taken_up_while_what_was_told_is_forgotten",
    ),
    Bug(
        "a reader that comes in the middle of a read misses what was before",
        "protos/jan/queue/follower.py",
        "            if subscription.cursor >= start and subscription not in self._new:\n",
        "            if subscription not in self._new:\n",
        f"{_FOLLOWER}::test_what_was_read_from_behind_a_readers_place_waits_for_the_next_read",
    ),
    Bug(
        "what a reader leaves unread has no bound",
        "protos/jan/queue/subscription.py",
        "        elif not self.gathers and self._pending_bytes + arriving > MAX_PENDING_BYTES:\n",
        "        elif False:\n",
        f"{_HOSTILE}::test_readers_that_never_read_cost_a_bounded_amount_each",
    ),
    Bug(
        "a whole answer that comes drops whoever reads a stream",
        "protos/jan/queue/follower.py",
        "        backlog = None if gathers else self._backlog\n",
        "        backlog = self._backlog\n",
        "tests/jan/queue/test_gathering.py::test_whoever_gathers_a_whole_answer_is_never_dropped_and_drops_nobody",
    ),
    Bug(
        "no write deadline: a reader that reads nothing is waited for",
        "gateway/http/sse.py",
        "            async with asyncio.timeout(seconds) as self._writing:\n",
        "            async with asyncio.timeout(None) as self._writing:\n",
        f"{_HOSTILE}::test_a_stream_that_nobody_reads_ends_at_its_deadline",
    ),
    Bug(
        "a whole answer that nobody reads is kept for ever",
        "gateway/http/server.py",
        "        super().pause_writing()\n        self._check_unread_later()\n",
        "        super().pause_writing()\n",
        f"{_HOSTILE}::test_a_whole_answer_that_nobody_reads_is_given_up",
    ),
    Bug(
        "no deadline for a connection on which nothing comes",
        "gateway/http/server.py",
        "_Timer(self._loop)\n        self._head_deadline.start(HEAD_SECONDS, self.force_close)\n",
        "_Timer(self._loop)\n",
        "tests/gateway/http/test_server.py::test_a_connection_on_which_no_whole_head_comes_is_closed[nothing]",
    ),
    Bug(
        "no deadline for a head that comes byte by byte",
        "gateway/http/server.py",
        "        elif not self._head_deadline.runs and self._waiter is not None and not self._waiter.done():\n",
        "        elif False:\n",
        f"{_HOSTILE}::test_others_are_served_beside_heads_that_come_byte_by_byte[later]",
    ),
    Bug(
        "no deadline for a body that comes byte by byte",
        "gateway/http/body.py",
        "        async with asyncio.timeout(BODY_SECONDS):\n            return await request.read()\n",
        "        async with asyncio.timeout(None):\n            return await request.read()\n",
        f"{_HOSTILE}::test_others_are_served_beside_bodies_that_come_byte_by_byte",
    ),
    Bug(
        "a request line may hold another address than the Host that is checked",
        "gateway/http/guard.py",
        """    if not request.raw_path.startswith("/"):\n""",
        "    if False:\n",
        "tests/gateway/http/test_guard.py::test_a_request_line_with_a_whole_address_is_refused",
    ),
    # Sent again, it is not done again.
    Bug(
        "a key may be used by two requests at once",
        "gateway/idempotency/records.py",
        "        claimed = record.token == mine.token\n",
        "        claimed = True\n",
        f"{_IDEMPOTENCY}::test_a_request_that_is_being_answered_is_not_begun_again",
    ),
    Bug(
        "a request is taken over from a gateway that lives",
        f"{_SCRIPTS}/claim.lua",
        "  if lease and lease ~= seen then return found end\n",
        "",
        "tests/gateway/idempotency/test_records.py"
        "::test_a_request_is_taken_over_from_a_gateway_whose_lease_stands_still_and_from_no_other",
    ),
    Bug(
        "whoever lost a request to another gateway goes on with it",
        "gateway/idempotency/records.py",
        "        if found.token != token and token in self._in_hand:\n",
        "        if False:\n",
        "tests/gateway/idempotency/test_losers.py::test_whoever_lost_a_request_stops_and_sends_its_client_to_the_other",
    ),
    Bug(
        "one person's key reaches another's answer",
        "gateway/idempotency/key.py",
        '    name = f"{_digest(holder)[:16]}.{_digest(holder + chr(0) + key)}"\n',
        '    name = f"{_digest(str())[:16]}.{_digest(key)}"\n',
        f"{_IDEMPOTENCY}::test_one_persons_key_is_not_anothers",
    ),
    Bug(
        "another request under a key gets the first one's answer",
        "gateway/idempotency/requests.py",
        "    if record.route != identity.route or (identity.body is not None and record.body != identity.body):\n",
        "    if False:\n",
        f"{_IDEMPOTENCY}::test_another_request_under_the_same_key_is_refused",
    ),
    Bug(
        "an answer that breaks off within its schema is told as one that ended well",
        "inference_service/answers/bound_answer.py",
        "            keeps = matcher.is_accepting()\n",
        "            keeps = True\n",
        "tests/inference_service/answers/test_bound_answer.py::test_an_end_in_the_middle_is_no_good_end",
    ),
    Bug(
        "a strict schema is bound as far as it goes",
        "inference_service/answers/binding.py",
        "self._matcher(schema, tokenizer, lenient=False)",
        "self._matcher(schema, tokenizer, lenient=True)",
        "tests/inference_service/answers/test_binding.py::test_a_strict_function_that_must_be_called_is_named_by_its_place",
    ),
)
