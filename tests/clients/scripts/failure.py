"""What the stock SDK for Python says of a request that failed."""

import openai


def error(call):
    try:
        call()
    except openai.APIStatusError as raised:
        return {
            "class": type(raised).__name__,
            "status": raised.status_code,
            "code": raised.code,
            "param": raised.param,
            "request_id": bool(raised.request_id),
        }
    return None
