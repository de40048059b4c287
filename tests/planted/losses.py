"""Mistakes by which something is lost, or done twice."""

from __future__ import annotations

from typing import Final

from tests.planted.bug import Bug

_SCRIPTS = "protos/jan/queue/scripts"
_JOBS = "tests/jan/queue/test_jobs.py"
_FORGOTTEN = "tests/jan/queue/test_forgotten.py"
_EXECUTOR = "tests/gateway/runs/test_executor.py"

LOSSES: Final = (
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
        "a running job that nobody renews is missed by nobody once Redis forgot its lease",
        f"{_SCRIPTS}/check.lua",
        "redis.call('HSETNX', leases, id, holder .. ':0') == 1",
        "false",
        f"{_FORGOTTEN}::test_a_running_job_whose_lease_alone_was_forgotten_is_missed_when_its_worker_dies",
    ),
    Bug(
        "the run of a gateway that stands still is left to it",
        "gateway/runs/executor.py",
        '                await self._take(run, stalled.get(name, ""))\n',
        '                await self._take(run, "")\n',
        f"{_EXECUTOR}::test_a_frozen_gateways_run_is_taken_over_and_its_events_stay_in_order",
    ),
    Bug(
        "what only the clients of a dead gateway could hear is answered to the end",
        "inference_service/jobs/worker.py",
        "                await self._end_unattended()\n",
        "",
        "tests/inference_service/jobs/test_worker.py::test_a_job_whose_gateway_is_gone_leaves_the_engine",
    ),
    Bug(
        "a gateway that stops keeps its runs",
        "gateway/queueing/holdings.py",
        "                await end(held.task)\n                await self.give_back(held.lease)\n",
        "                await end(held.task)\n",
        f"{_EXECUTOR}::test_a_gateway_that_stops_hands_its_runs_over",
    ),
    Bug(
        "storage is waited for without end",
        "protos/jan/rpc.py",
        "            return await method(request, timeout=deadline_seconds, metadata=metadata)\n",
        "            return await method(request, metadata=metadata)\n",
        "tests/jan/test_rpc.py::test_a_slow_service_is_told_from_an_absent_one",
    ),
    Bug(
        "a service that is away is asked again without end",
        "protos/jan/rpc.py",
        "            if time.monotonic() >= give_up_at:\n",
        "            if False:\n",
        "tests/jan/test_rpc.py::test_an_absent_service_is_unavailable_at_once",
    ),
    Bug(
        "the last try of a job that ended its engine twice is not alone",
        f"{_SCRIPTS}/take.lua",
        "      if stands and failures >= suspect and in_hand[model_of(name)] then\n",
        "      if false then\n",
        "tests/inference_service/jobs/test_losses.py::test_a_jobs_last_try_is_alone",
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
        "tests/gateway/runs/test_left_jobs.py"
        "::test_the_job_of_a_run_that_is_over_ends_though_its_gateway_died_before_it_cancelled_it[failed]",
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
)
