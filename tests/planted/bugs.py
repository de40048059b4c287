"""Mistakes in the queue, the gateway and the worker, and the named test that must fail under each (F17).

A test that never failed may have looked at nothing. Each mistake is one that somebody could make: a line that is left
out, a comparison that is forgotten. It is a replacement of a text that stands in its file exactly once, so that a
refactoring which moves the line is told (`test_bugs.py`), and the mistake is planted anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]

_SCRIPTS = "protos/jan/queue/scripts"
_JOBS = "tests/jan/queue/test_jobs.py"
_FORGOTTEN = "tests/jan/queue/test_forgotten.py"
_SHARES = "tests/jan/queue/test_shares.py"
_FOLLOWER = "tests/jan/queue/test_follower.py"
_IDEMPOTENCY = "tests/gateway/idempotency/test_requests.py"
_HOSTILE = "tests/gateway/http/test_hostile_clients.py"
_EXECUTOR = "tests/gateway/runs/test_executor.py"


@dataclass(frozen=True, slots=True)
class Bug:
    """In `file`, `right` is replaced by `wrong`; the test `caught_by` must fail then."""

    name: str
    file: str
    right: str
    wrong: str
    caught_by: str

    def planted_in(self, source: str) -> str:
        """The file's text with the mistake in it. Raises ValueError: what it replaces does not stand there once."""
        if source.count(self.right) != 1:
            raise ValueError(f"{self.name}: {self.file} holds {source.count(self.right)} times {self.right!r}")
        return source.replace(self.right, self.wrong)


BUGS: Final = (
    # Nothing is lost, nothing is done twice.
    Bug(
        "a job is forgotten as soon as it is delivered",
        f"{_SCRIPTS}/take.lua",
        "    redis.call('HSET', leases, id, token .. ':0')\n",
        "",
        f"{_JOBS}::test_a_stalled_lease_is_released_and_its_old_holder_fenced",
    ),
    Bug(
        "a submission that the client library repeats is another job",
        f"{_SCRIPTS}/submit.lua",
        "if redis.call('EXISTS', job) == 1 then return {'known'} end\n",
        "",
        f"{_JOBS}::test_submitting_again_changes_nothing",
    ),
    Bug(
        "no fencing: a holder that lost its lease still writes",
        f"{_SCRIPTS}/publish.lua",
        "if fields[2] ~= token then return -1 end\n",
        "",
        f"{_JOBS}::test_a_stalled_lease_is_released_and_its_old_holder_fenced",
    ),
    Bug(
        "an emptied Redis lets the holder of before go on",
        f"{_SCRIPTS}/publish.lua",
        "if fields[2] ~= token then return -1 end\n",
        "if fields[2] ~= token and fields[2] == '' then return -1 end\n",
        f"{_JOBS}::test_an_emptied_redis_fences_everybody",
    ),
    Bug(
        "publishing again appends again",
        f"{_SCRIPTS}/publish.lua",
        "  local before, last = tonumber(fields[3]), first + to - from\n",
        "  first = fields[3] + 1\n  local before, last = tonumber(fields[3]), first + to - from\n",
        f"{_JOBS}::test_publishing_twice_appends_once",
    ),
    Bug(
        "a lease is taken from a holder that renewed it in the last moment",
        f"{_SCRIPTS}/release.lua",
        "if seen ~= '' and redis.call('HGET', leases, id) ~= seen then return 'kept' end\n",
        "",
        f"{_JOBS}::test_a_lease_renewed_after_it_was_seen_stays",
    ),
    Bug(
        "leases are watched by the wall clock",
        "protos/jan/queue/leases.py",
        "        self._monotonic = monotonic\n",
        "        self._monotonic = lambda: time.time()\n",
        f"{_JOBS}::test_a_wall_clock_that_runs_ahead_releases_nothing",
    ),
    Bug(
        "a poison job goes round for ever",
        f"{_SCRIPTS}/release.lua",
        "redis.call('HINCRBY', job, 'failures', 1) >= tonumber(most) then",
        "redis.call('HINCRBY', job, 'failures', 1) < 0 then",
        f"{_JOBS}::test_the_third_lost_worker_ends_the_job",
    ),
    Bug(
        "a log is gone on with behind what Redis forgot of it",
        f"{_SCRIPTS}/publish.lua",
        "redis.call('XADD', log, 'NOMKSTREAM', 'MAXLEN', ",
        "redis.call('XADD', log, 'MAXLEN', ",
        f"{_FORGOTTEN}::test_a_job_whose_log_alone_was_forgotten_is_forgotten_whole",
    ),
    Bug(
        "a run is executed by two gateways at once",
        f"{_SCRIPTS}/acquire.lua",
        "if lease ~= seen and lease ~= token .. ':0' then return nil end\n",
        "",
        "tests/jan/queue/test_runs.py::test_a_run_is_in_one_gateways_hands",
    ),
    Bug(
        "runs that Redis forgot are left to themselves",
        "gateway/runs/executor.py",
        "            if name in stalled or not (",
        "            if name in stalled or False and not (",
        f"{_EXECUTOR}::test_a_redis_that_forgot_everything_loses_no_run",
    ),
    Bug(
        "a job goes on whose run is over",
        "gateway/queueing/leftovers.py",
        "                await self._jobs.cancel(job_id)\n",
        "                pass\n",
        f"{_EXECUTOR}::test_the_job_of_a_run_that_is_over_ends_though_its_gateway_died_before_it_cancelled_it[failed]",
    ),
    Bug(
        "an answer is begun anew behind what was said of it",
        "inference_service/jobs/relay.py",
        "said = without_echo(text, request) if text is not None else None\n",
        'said = ""\n',
        "tests/inference_service/answers/test_continuation.py::test_a_worker_killed_at_any_token[3]",
    ),
    Bug(
        "an engine that is killed while it loads a model is no loss",
        "inference_service/jobs/relay.py",
        "                return Happening.ENGINE_DIED, killed\n",
        "                return Happening.ENGINE_LOST, killed\n",
        "tests/inference_service/jobs/test_loads.py::test_a_job_whose_load_kills_its_engine_three_times_is_a_dead_letter",
    ),
    Bug(
        "a worker that stops keeps what it has not begun",
        "inference_service/jobs/relay.py",
        "                    await self._give_back()\n",
        "",
        "tests/inference_service/jobs/test_worker.py::test_a_job_that_is_taken_while_the_stop_comes_is_handed_back",
    ),
    # Fair between people.
    Bug(
        "turns cost nothing, so a newcomer waits behind five hundred jobs",
        f"{_SCRIPTS}/take.lua",
        "        move_on(name, tenant, start + charged)\n",
        "        move_on(name, tenant, start)\n",
        f"{_SHARES}::test_a_newcomer_starts_within_one_job_length_whatever_he_asks[100]",
    ),
    Bug(
        "shares follow estimates, not what was used",
        f"{_SCRIPTS}/publish.lua",
        "  if spent then charge(name, job[2], (math.max(spent, job[7] or 0) - job[3]) / job[4]) end\n",
        "",
        f"{_SHARES}::test_shares_of_a_minute_follow_weights_though_estimates_are_wrong",
    ),
    Bug(
        "what an engine has read is free if nothing was told of it",
        f"{_SCRIPTS}/release.lua",
        "note_used(job, tonumber(spent) or (fields[11] and 0 or (fields[12] or 0) + fields[13]))\n",
        "",
        f"{_SHARES}"
        "::test_a_job_that_an_engine_was_asked_costs_its_prompt_though_nothing_was_told_of_it[cancelled waiting]",
    ),
    Bug(
        "weights mean nothing",
        f"{_SCRIPTS}/submit.lua",
        "local charged = cost / weight\n",
        "local charged = cost\n",
        f"{_SHARES}::test_shares_of_a_minute_follow_weights_though_estimates_are_wrong",
    ),
    Bug(
        "turns are saved up by staying away",
        f"{_SCRIPTS}/_shares.lua",
        "    if arrives then time = math.max(time, now) end\n",
        "",
        f"{_SHARES}::test_nobody_saves_up_turns_by_staying_away",
    ),
    Bug(
        "a lower class never ages",
        f"{_SCRIPTS}/take.lua",
        "      if patience[class] and now() - since >= patience[class] then rank = 1 end\n",
        "",
        f"{_SHARES}::test_lower_classes_start_a_job_in_their_time_however_much_comes_in_above",
    ),
    Bug(
        "a time is told that forgets how many run at once",
        "protos/jan/queue/look.py",
        "        ends = [max(0.0, cost * self.token_seconds - seconds) for cost, seconds in self.running]\n",
        "        ends = [self.running[0][0] * self.token_seconds]\n",
        f"{_SHARES}::test_estimates_are_within_a_factor_of_two_in_steady_state[8]",
    ),
    Bug(
        "a time is told that does not look at what the waiting jobs ask for",
        "protos/jan/queue/look.py",
        "            heapq.heapreplace(ends, ends[0] + cost * self.token_seconds)\n",
        "            heapq.heapreplace(ends, ends[0] + self.running[0][0] * self.token_seconds)\n",
        f"{_SHARES}::test_estimates_are_within_a_factor_of_two_though_jobs_differ_in_size[8]",
    ),
    Bug(
        "the queue has no bound",
        f"{_SCRIPTS}/submit.lua",
        "if room[1] ~= 'room' then return room end\n",
        "",
        f"{_JOBS}::test_what_goes_beyond_a_bound_is_refused_and_leaves_nothing",
    ),
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
        "        elif self._pending_bytes + arriving > MAX_PENDING_BYTES:\n",
        "        elif False:\n",
        f"{_HOSTILE}::test_readers_that_never_read_cost_a_bounded_amount_each",
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
    # Stop means stop.
    Bug(
        "a job runs whose cancel came before it",
        f"{_SCRIPTS}/cancel.lua",
        "  end_job(job, id, last_event, ENDED_TTL_SECONDS)\n  ring('cancelled', id)\n",
        "  redis.call('DEL', job)\n",
        "tests/jan/queue/test_jobs.py::test_a_job_whose_cancel_came_first_never_runs",
    ),
    Bug(
        "a running job is not told that it was cancelled",
        f"{_SCRIPTS}/cancel.lua",
        "  redis.call('HSET', job, 'cancelled', '1')\n",
        "",
        f"{_JOBS}::test_cancelling_a_running_job_tells_its_worker",
    ),
    Bug(
        "a cancelled job runs again when its worker dies",
        f"{_SCRIPTS}/release.lua",
        "if fields[9] then\n",
        "if false then\n",
        f"{_JOBS}::test_a_job_that_was_cancelled_under_a_lost_worker_ends",
    ),
    Bug(
        "a cancel is not rung, so it waits for the next renewal",
        f"{_SCRIPTS}/cancel.lua",
        "'1')\n  ring('cancelled', id)\n",
        "'1')\n",
        f"{_JOBS}::test_cancelling_a_running_job_rings_for_its_worker",
    ),
    Bug(
        "a worker goes by places in the bell that Redis, emptied and with a clock that went back, comes to in an hour",
        "protos/jan/queue/bell.py",
        "            if _moment(newest) < _moment(place):\n",
        "            if False:\n",
        "tests/jan/queue/test_bell.py"
        "::test_a_listener_hears_what_is_rung_after_redis_was_emptied_and_its_clock_went_back[everything]",
    ),
    Bug(
        "a worker that missed signals waits for its next renewal",
        "inference_service/jobs/worker.py",
        "                self._missed_signals.set()\n",
        "                pass\n",
        "tests/inference_service/jobs/test_worker.py"
        "::test_a_cancelled_job_leaves_the_engine_though_the_clock_of_redis_went_back[signals]",
    ),
    Bug(
        "the cancel of a job that Redis forgot is not rung",
        f"{_SCRIPTS}/cancel.lua",
        "  ring('cancelled', id)\n  return 'unknown'\n",
        "  return 'unknown'\n",
        "tests/jan/queue/test_bell.py::test_the_cancel_of_a_job_that_redis_forgot_is_rung_for_who_has_it_in_hand",
    ),
    Bug(
        "a log reader is woken by Redis's clock",
        "protos/jan/queue/follower.py",
        """{"n": ""}, id=f"{next(self._pokes)}-0")""",
        """{"n": ""})""",
        f"{_FOLLOWER}::test_a_read_is_woken_for_a_new_log_whatever_redis_says_the_time_is",
    ),
    Bug(
        "a part of the queue that Redis forgot is not put right",
        f"{_SCRIPTS}/check.lua",
        "    stand_in_line(name, tenant, sequence, place, true)\n",
        "",
        f"{_FORGOTTEN}::test_a_waiting_job_whose_place_alone_was_forgotten_gets_it_back[forgotten0]",
    ),
    Bug(
        "a client that leaves is answered to the end",
        "gateway/queueing/jobs.py",
        "                if not events.ended:\n                    self.cancel_in_background(job.id)\n",
        "                pass\n",
        "tests/gateway/queueing/test_resumption.py::test_a_chat_that_nobody_asked_to_keep_ends_with_its_reader",
    ),
)
