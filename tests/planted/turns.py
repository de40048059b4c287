"""Mistakes in whose turn it is, and in how a turn ends."""

from __future__ import annotations

from typing import Final

from tests.planted.bug import Bug

_SCRIPTS = "protos/jan/queue/scripts"
_JOBS = "tests/jan/queue/test_jobs.py"
_FORGOTTEN = "tests/jan/queue/test_forgotten.py"
_SHARES = "tests/jan/queue/test_shares.py"
_FOLLOWER = "tests/jan/queue/test_follower.py"

TURNS: Final = (
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
        "        ends = [_left(cost * self.token_seconds, seconds) for cost, seconds in self.running]\n",
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
