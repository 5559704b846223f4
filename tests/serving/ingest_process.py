"""A process that sends events to ingest until it is killed, and tells which were acknowledged.

``python -m tests.serving.ingest_process URL FOLDER FIRST``: events are numbered from FIRST.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from uuid import UUID

from serving.ingest.service import Ingest

SENDERS = 6


def main(url: str, folder: str, first: str) -> None:
    asyncio.run(send_for_ever(url, Path(folder), count(int(first))))


async def send_for_ever(url: str, folder: Path, numbers: count[int]) -> None:
    ingest = Ingest(lambda: url, folder)
    await ingest.start()

    async def send() -> None:
        while True:
            batch = [next(numbers) for _ in range(3)]
            checked = ingest.check(
                [
                    {
                        "event_id": str(UUID(int=number)),
                        "item_id": "i",
                        "type": "view" if number % 3 else "?",
                        "occurred_at": datetime.now(UTC).isoformat() if number % 2 else None,
                    }
                    for number in batch
                ]
            )
            await ingest.write(checked)
            print(*batch, flush=True)

    await asyncio.gather(*(send() for _ in range(SENDERS)))


if __name__ == "__main__":
    main(*sys.argv[1:])
