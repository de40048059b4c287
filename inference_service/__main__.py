"""`python -m inference_service`: take jobs from the queue and answer them with engines on this host."""

from __future__ import annotations

import asyncio
import os
import socket

from inference_service.control import ControlServicer
from inference_service.devices.host import HostInventory
from inference_service.devices.nvml import load_nvml
from inference_service.engines.launcher import Launcher
from inference_service.engines.scratch import sweep
from inference_service.engines.sockets import remove_left_over
from inference_service.jobs.worker import Worker
from inference_service.memory.measurements import Measurements
from inference_service.models.pool import open_models
from inference_service.settings import InferenceSettings
from jan.inference.v1.control_pb2_grpc import add_ControlServiceServicer_to_server
from jan.redis import connect
from jan.rpc import serving
from jan.service import run_service


async def serve(settings: InferenceSettings, stop: asyncio.Event) -> None:
    """Run until `stop` is set and every job in hand has ended."""
    run_dir = settings.common.run_dir
    await asyncio.to_thread(sweep, run_dir / "engines")
    await asyncio.to_thread(remove_left_over, run_dir)
    measurements = Measurements(run_dir / "measurements.json")
    launcher = Launcher(
        settings.homes,
        run_dir,
        settings.load_timeout,
        measurements,
        settings.idle_seconds,
        settings.vllm_python,
        settings.remote_keys,
    )
    inventory = settings.inventory or HostInventory(load_nvml(), os.environ.get("CUDA_VISIBLE_DEVICES"))
    async with (
        connect(settings.common.redis_url) as redis,
        open_models(launcher, inventory, settings.policy) as models,
    ):
        host = socket.gethostname()
        control = ControlServicer(models, launcher, host)
        async with serving(
            settings.common.inference_addr, lambda server: add_ControlServiceServicer_to_server(control, server)
        ):
            worker = Worker(redis, models, most_jobs=settings.most_jobs, drain_time=settings.drain_time, host=host)
            await worker.run(stop)
            models.dismiss_watchers()


if __name__ == "__main__":
    run_service(
        "inference_service",
        lambda: InferenceSettings.from_environment(os.environ),
        lambda settings: settings.common,
        serve,
    )
