"""What names a job's answer: its id, its model and, for who asks twice, what exactly answered."""

from __future__ import annotations

import hashlib

from inference_service.answers.shapes import AnswerHead
from jan.inference.v1 import jobs_pb2

_DIGITS = 10


def head_of(job: jobs_pb2.Job) -> AnswerHead:
    """The head that all parts of a job's answer have in common."""
    return AnswerHead(
        job.response_id, job.response_created, job.model.id, fingerprint_of(job.model), job.service_tier or None
    )


def fingerprint_of(model: jobs_pb2.ModelSpec) -> str:
    """Another one whenever the model's weights or settings are others: then one `seed` may give another answer."""
    return "fp_" + hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()[:_DIGITS]
