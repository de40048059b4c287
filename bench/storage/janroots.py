"""Janroots to measure with, written as Jan writes them, without waiting for the disk."""

import json
from pathlib import Path

FIRST_SECOND = 1_704_504_633
WORDS = (Path(__file__).parents[2] / "README.md").read_text().split()


def thread_id(number: int) -> str:
    """The id of the thread with this number: later threads have higher ones."""
    return f"jan_{FIRST_SECOND + number}"


def write_thread(janroot: Path, number: int, messages: int) -> None:
    """A thread whose every message has some words of many, one of its thread (`n7`) and one of its own (`m700`)."""
    second = FIRST_SECOND + number
    folder = janroot / "threads" / thread_id(number)
    folder.mkdir(parents=True)
    thread = {"id": folder.name, "title": f"Trip {number}", "assistants": [], "created": second * 1000}
    (folder / "thread.json").write_text(json.dumps(thread))
    with (folder / "messages.jsonl").open("w") as file:
        for index in range(messages):
            place = (number * 7919 + index * 31) % len(WORDS)
            text = " ".join(WORDS[place : place + 12]) + f" n{number} m{number * messages + index}"
            message = {
                "id": f"msg_{number}_{index}",
                "role": "user",
                "created": second * 1000 + index,
                "content": [{"type": "text", "text": {"value": text, "annotations": []}}],
            }
            file.write(json.dumps(message) + "\n")
