"""`python -m tests.chaos.clients.attentive URL COUNT`: clients that ask for the same long answers and read them.

What others feel beside them is the cost of the answers; a process of their own, so that reading them costs the one
that measures nothing.
"""

from __future__ import annotations

import asyncio
import sys

from tests.chaos.clients.hostile import ask_long
from tests.chaos.oracle import Finding
from tests.fixtures.stack import Stack

READ = "a long answer that is read is told to its end"
_ENDS = b"data: [DONE]\n\n"
# A chunk's own end and the answer's last, empty chunk.
_TAIL_BYTES = 64


async def read_all(stack: Stack, count: int) -> list[Finding]:
    """Ask so many at once, and read each answer to its end."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", __name__, stack.url, str(count))
    return [Finding(READ, "see above")] if await process.wait() else []


async def _read(url: str, number: int) -> bool:
    client = await ask_long(url, number, kernel_bytes=1 << 18)
    loop, tail = asyncio.get_running_loop(), b""
    try:
        while _ENDS not in tail:
            data = await loop.sock_recv(client, 1 << 18)
            if not data:
                return False
            tail = (tail + data)[-_TAIL_BYTES:]
        return True
    finally:
        client.close()


async def _main(url: str, count: int) -> int:
    whole = await asyncio.gather(*(_read(url, number) for number in range(count)))
    if not all(whole):
        print(f"{whole.count(False)} of {count} long answers ended early")
    return 0 if all(whole) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(_main(sys.argv[1], int(sys.argv[2]))))
